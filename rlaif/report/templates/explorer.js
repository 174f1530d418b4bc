"use strict";
// A table of texts with their judgements: search, sort, and draw a few rows at a time.
// Texts are inserted as text nodes only, never as markup.
(() => {
  const FOLD = 700; // characters of a text that are shown before a click on "Show all"
  const SCORE = 0, STATUS = 1, REASON = 2, TERMS = 3, PARTS = 4;
  const count = (number) => number.toLocaleString("en");

  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === undefined || value === null || value === false) continue;
      if (name === "text") element.textContent = value;
      else if (name === "class") element.className = value;
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  };
  const shown = (score, signed = false) => {
    if (score === null || score === undefined) return "–";
    const text = Math.abs(score).toFixed(3);
    return (Number(text) === 0 ? "" : score < 0 ? "−" : signed ? "+" : "") + text;
  };
  // Mark the escapes of invisible characters, to set them apart from the text around them.
  const spelled = (text) => text.split(/(‹U\+[0-9A-F]{4,6}›)/).map((part, i) => (i % 2 ? make("span", { class: "escape", text: part }) : part));

  const foldable = (whole, what, kind = "text") => {
    const text = whole.trim();
    const bdi = make("bdi", { dir: "auto" });
    const box = make("div", { class: kind }, bdi);
    if (text.length <= FOLD * 1.2) { bdi.append(...spelled(text)); return [box]; }
    const button = make("button", { type: "button", class: "plain", "aria-expanded": "false" });
    const fold = (closed) => {
      bdi.replaceChildren(...(closed ? spelled(`${text.slice(0, FOLD)}…`) : text.length > 50000 ? [text] : spelled(text)));
      box.classList.toggle("open", !closed);
      for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", what]]) {
        if (closed) box.removeAttribute(name); else box.setAttribute(name, value);
      }
      button.textContent = closed ? `Show all ${count(text.length)} characters` : "Show less";
      button.setAttribute("aria-expanded", String(!closed));
    };
    button.addEventListener("click", () => fold(button.getAttribute("aria-expanded") === "true"));
    fold(true);
    return [box, button];
  };

  const explore = (root) => {
    const data = JSON.parse(document.getElementById(root.dataset.block).textContent);
    const { judges, panes, changes, numbers: more = [], rows } = data;
    const form = root.querySelector("form"), [table] = root.getElementsByTagName("table");
    const field = (name) => form.elements.namedItem(name);
    const state = { judge: 0, order: null, rising: true, page: 0, found: [] };

    // --- columns, filters and order ----------------------------------------------------------------------------
    const scoreOf = (row, pane, judge = state.judge) => row.j[pane]?.[judge]?.[SCORE] ?? null;
    const changeOf = (row, change) => {
      const [from, to] = [scoreOf(row, change.from), scoreOf(row, change.to)];
      return from === null || to === null ? null : to - from;
    };
    const orders = [
      { label: "No.", kind: "no", key: (row) => row.no },
      ...panes.map((pane, i) => ({ label: pane.label, kind: "pane", key: (row) => scoreOf(row, i) })),
      ...changes.map((change) => ({ label: change.label, kind: "change", key: (row) => changeOf(row, change) })),
      ...more.map((label, i) => ({ label, kind: "change", key: (row) => row.n[i] })),
    ];
    state.order = orders.find((order) => order.kind === "change") ?? orders[Math.min(1, orders.length - 1)];
    state.rising = more.length === 0;
    rows.forEach((row, i) => { row.no = i + 1; });
    const haystack = (row) => (row.hay ??= [row.p, row.a ?? "", ...row.t, ...row.j.flat().flatMap((said) => (said ? [said[REASON], said[STATUS]] : []))].join("\n").toLowerCase());
    const abstained = (row) => row.j.some((said) => said[state.judge] && said[state.judge][SCORE] === null);
    const filters = [["all", "all", () => true]];
    if (changes.length) {
      filters.push(
        ["worse", "got worse", (row) => changes.some((change) => (changeOf(row, change) ?? 0) < 0)],
        ["better", "got better", (row) => changes.some((change) => (changeOf(row, change) ?? 0) > 0)],
      );
    }
    filters.push(["abstained", "judge abstained", abstained]);

    const find = () => {
      const words = field("query").value.toLowerCase().split(/\s+/).filter(Boolean);
      const passes = filters.find(([name]) => name === field("filter").value)[2];
      const keyed = rows.filter((row) => passes(row) && words.every((word) => haystack(row).includes(word))).map((row) => [state.order.key(row), row]);
      keyed.sort(([a, r], [b, s]) => {
        if (a === null || b === null) return (a === null) - (b === null) || r.no - s.no; // unknown values come last
        return (state.rising ? a - b : b - a) || r.no - s.no;
      });
      state.found = keyed.map(([, row]) => row);
      state.page = 0;
      draw();
    };

    // --- drawing -----------------------------------------------------------------------------------------------
    const numbers = (judge, score) => (judge.harm && score !== null ? `${shown(score)}, toxicity ${shown(1 - score)}` : shown(score));
    const said = (pane) => make("ul", { class: "judged" }, ...judges.map((judge, i) => {
      const its = pane?.[i];
      if (!its) return null;
      const about = [its[STATUS] !== "ok" && its[STATUS] ? its[STATUS].replaceAll("_", " ") : "", its[TERMS]].filter(Boolean).join(", ");
      const item = make("li", {}, make("div", { class: "numbers-of" }, make("bdi", { text: judge.name }), make("b", { text: numbers(judge, its[SCORE]) }), about ? make("span", { text: about }) : null));
      if (its[REASON]) item.append(make("div", { class: "because" }, ...foldable(its[REASON], `Reason of ${judge.name}`, "reason")));
      if (its[PARTS].length) {
        item.append(make("ul", { class: "judged" }, ...its[PARTS].map(([name, status, reason, score]) =>
          make("li", {}, make("div", { class: "numbers-of" }, make("bdi", { text: name }), make("b", { text: shown(score) }), status === "ok" ? null : make("span", { text: status.replaceAll("_", " ") })),
            reason ? make("div", { class: "because" }, ...foldable(reason, `Reason of ${name}`, "reason")) : null))));
      }
      return item;
    }));
    const paneOf = (row, i) => {
      const cell = make("td", { role: "cell", "data-label": panes[i].label });
      if (row.a && i === 0) cell.append(make("p", { class: "about" }, make("bdi", { text: row.a })));
      if (row.t[i] === null) { cell.append(make("div", { class: "text none", text: "not measured" })); return cell; }
      const judge = judges[state.judge];
      if (judge) {
        const score = scoreOf(row, i), status = row.j[i]?.[state.judge]?.[STATUS];
        cell.append(make("p", { class: "verdict" }, shown(score), score === null ? make("span", { text: ` ${(status ?? "not judged").replaceAll("_", " ")}` }) : judge.harm ? make("span", { text: ` toxicity ${shown(1 - score)}` }) : ""));
      }
      cell.append(...(row.t[i].trim() ? foldable(row.t[i], `${panes[i].label} of ${data.what} ${row.no}`) : [make("div", { class: "text none", text: "empty" })]), said(row.j[i]));
      return cell;
    };
    const rowOf = (row) => make("tr", { role: "row" },
      make("th", { role: "rowheader", scope: "row", class: "no" }, make("span", { class: "unseen", text: `${data.what} ` }), String(row.no)),
      ...(hasPrompts ? [make("td", { role: "cell", class: "prompt", "data-label": "Prompt" }, ...(row.p.trim() ? foldable(row.p, `Prompt of ${data.what} ${row.no}`) : []))] : []),
      ...panes.map((_, i) => paneOf(row, i)),
      ...changes.map((change) => {
        const value = changeOf(row, change);
        return make("td", { role: "cell", class: "change", "data-label": change.label }, make("span", { class: value < 0 ? "down" : value > 0 ? "up" : null, text: shown(value, true) }));
      }),
      ...more.map((label, i) => make("td", { role: "cell", class: "change", "data-label": label }, shown(row.n[i]))));
    const draw = () => {
      const size = Number(field("size").value), pages = Math.max(1, Math.ceil(state.found.length / size));
      state.page = Math.min(Math.max(0, state.page), pages - 1);
      const from = state.page * size, some = state.found.slice(from, from + size);
      table.tBodies[0].replaceChildren(...some.map(rowOf));
      const found = state.found.length === rows.length ? "" : `, of ${count(rows.length)} in all`;
      root.querySelector(".count").textContent = some.length ? `${data.what}s ${count(from + 1)} to ${count(from + some.length)} of ${count(state.found.length)}${found}`.replace(/^./, (c) => c.toUpperCase()) : `No ${data.what} matches.`;
      root.querySelector(".where").textContent = `Page ${count(state.page + 1)} of ${count(pages)}`;
      const pager = root.querySelector(".pager");
      for (const [name, off] of [["first", state.page === 0], ["previous", state.page === 0], ["next", state.page === pages - 1], ["last", state.page === pages - 1]]) {
        pager.querySelector(`[name=${name}]`).disabled = off;
      }
      for (const head of table.tHead.rows[0].cells) {
        if (head.order) head.setAttribute("aria-sort", head.order === state.order ? (state.rising ? "ascending" : "descending") : "none");
      }
    };

    // --- events ------------------------------------------------------------------------------------------------
    const hasPrompts = rows.some((row) => row.p);
    const heads = orders.map((order) => {
      const button = make("button", { type: "button", text: order.label });
      const head = make("th", { role: "columnheader", scope: "col", class: order.kind, "aria-sort": "none" }, button);
      head.order = order;
      button.addEventListener("click", () => {
        state.rising = state.order === order ? !state.rising : true;
        state.order = order;
        find();
      });
      return head;
    });
    if (hasPrompts) heads.splice(1, 0, make("th", { role: "columnheader", scope: "col", class: "prompt", text: "Prompt" }));
    table.tHead.append(make("tr", { role: "row" }, ...heads));
    field("judge").append(...judges.map((judge, i) => make("option", { value: i, text: judge.role ? `${judge.name}, ${judge.role}` : judge.name })));
    field("filter").append(...filters.map(([value, text]) => make("option", { value, text })));
    field("judge").closest("label").hidden = judges.length < 2;
    let waiting = 0;
    field("query").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(find, 120); });
    form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(waiting); find(); });
    field("judge").addEventListener("change", () => { state.judge = Number(field("judge").value); find(); });
    field("filter").addEventListener("change", find);
    field("size").addEventListener("change", find);
    root.querySelector(".pager").addEventListener("click", ({ target }) => {
      const to = { first: 0, previous: state.page - 1, next: state.page + 1, last: Infinity }[target.name];
      if (to === undefined) return;
      state.page = to;
      draw();
      table.scrollIntoView({ block: "start" });
      if (target.disabled) root.querySelector(".pager button:enabled")?.focus({ preventScroll: true });
    });
    root.hidden = false;
    find();
  };
  for (const root of document.querySelectorAll(".explorer")) explore(root);
})();
