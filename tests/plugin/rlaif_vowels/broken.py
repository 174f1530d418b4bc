"""An adapter that fails at import."""

import rlaif_vowels

rlaif_vowels.nothing_of_this_name
