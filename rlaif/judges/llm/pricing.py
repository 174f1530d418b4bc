"""What a model's tokens cost by the list: from a price library that is kept up to date, never from us."""

from __future__ import annotations

from rlaif.judges.remote.judge import Price


def list_price(model: str, provider: str) -> Price | None:
    """Return the list price of a model in USD per million tokens, or None where it is unknown."""
    from genai_prices import Usage, calc_price

    million = 1_000_000
    try:
        price = calc_price(Usage(input_tokens=million, output_tokens=million), model_ref=model, provider_id=provider)
    except LookupError:
        return None
    return Price(input=float(price.input_price), output=float(price.output_price))
