// The page's only script: it fills the row browser. Row text reaches the page by textContent alone,
// never as markup; the content policy forbids everything else.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const PAGE_ROWS = 12;
  const CLAMP_CHARS = 700;
  const DIFF_WORDS = 700;
  const SHARED_WORDS = 5;
  const STATUSES = ["selected", "left", "kept", "dropped", "failed", "quarantined", "read"];
  const WORDS = {
    selected: "selected", left: "not chosen", kept: "passed the audit", dropped: "dropped",
    failed: "measure failed", quarantined: "quarantined", read: "read",
  };

  const make = (name, className, ...children) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    for (const child of children) if (child != null) element.append(child);
    return element;
  };

  // Control characters and marks that turn the direction of text are shown, never obeyed.
  const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
  const visible = (text) => String(text).replace(CONTROLS, (c) => {
    const code = c.charCodeAt(0);
    if (code < 32) return String.fromCharCode(0x2400 + code);
    return "\u27e8U+" + code.toString(16).toUpperCase().padStart(4, "0") + "\u27e9";
  });

  const figure = (value) => {
    if (value == null || !Number.isFinite(value)) return "\u2013";
    const power = Number(value.toExponential(2).split("e")[1]);
    let text;
    if (power >= 3 || Number.isInteger(value)) text = Math.round(value).toLocaleString("en-US");
    else if (power < -4) text = value.toExponential(2);
    else text = value.toFixed(Math.max(0, 2 - power));
    return text.replaceAll("-", "\u2212");
  };
  const count = (value) => value.toLocaleString("en-US");

  // ---- data ----------------------------------------------------------------------------------
  const source = byId("row-data");
  if (source) browse(JSON.parse(source.textContent));
  spy();

  function browse(data) {
    const known = new Map(data.rows.map((row) => [row.id, row]));
    const view = { status: "", reason: "", q: "", sort: "", page: 0 };
    const haystacks = new Map();

    const haystack = (row) => {
      if (!haystacks.has(row)) {
        const parts = [row.id, row.reason, ...row.turns.map((turn) => turn[1])];
        for (const origin of row.origins) parts.push(origin[0], origin[2]);
        haystacks.set(row, parts.join("\n").toLowerCase());
      }
      return haystacks.get(row);
    };

    const inStatus = (row) => !view.status || row.status === view.status;
    const matching = () => {
      const wanted = view.q.trim().toLowerCase();
      const rows = data.rows.filter((row) => inStatus(row)
        && (!view.reason || row.reason === view.reason)
        && (!wanted || haystack(row).includes(wanted)));
      return ordered(rows);
    };

    const ordered = (rows) => {
      const [name, direction] = view.sort.split(" ");
      const column = data.features.indexOf(name);
      const place = (row) => STATUSES.indexOf(row.status);
      const listed = (a, b) => place(a) - place(b) || (a.rank ?? 0) - (b.rank ?? 0);
      if (column < 0) return [...rows].sort(listed);
      const sign = direction === "high" ? -1 : 1;
      const value = (row) => (row.values ? row.values[column] : null);
      return [...rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x == null || y == null) return (x == null) - (y == null);
        return sign * (x - y);
      });
    };

    // ---- controls ----
    function chips() {
      const chip = (status, words, number, total) => {
        const told = number < total ? `${count(number)} of ${count(total)}` : count(number);
        const button = make("button", "chip", make("span", "", words), make("small", "", told));
        button.type = "button";
        button.setAttribute("aria-pressed", String(view.status === status));
        button.addEventListener("click", () => change({ status, reason: "" }));
        return button;
      };
      const here = (status) => data.rows.filter((row) => row.status === status).length;
      const totals = data.statuses;
      const total = Object.values(totals).reduce((sum, number) => sum + number, 0);
      const present = STATUSES.filter((status) => status in totals);
      byId("row-status").replaceChildren(chip("", "all", data.rows.length, total),
        ...present.map((status) => chip(status, WORDS[status], here(status), totals[status])));
    }

    function options(select, entries, current) {
      select.replaceChildren(...entries.map(([value, words]) => {
        const option = make("option", "", words);
        option.value = value;
        option.selected = value === current;
        return option;
      }));
    }

    function reasons() {
      const counts = new Map();
      for (const row of data.rows) {
        if (inStatus(row) && row.reason) counts.set(row.reason, (counts.get(row.reason) || 0) + 1);
      }
      // Some selectors give each row a reason of its own: those are not worth a list.
      const entries = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
        .filter(([reason, n], i) => reason === view.reason || i < 12 || (n > 1 && i < 40));
      options(byId("row-reason"), [["", "any reason"],
        ...entries.map(([reason, n]) => [reason, `${visible(reason)} (${count(n)})`])], view.reason);
    }

    function orders() {
      const entries = data.features.flatMap((name) => [
        [`${name} low`, `${name}, low first`], [`${name} high`, `${name}, high first`]]);
      options(byId("row-sort"), [["", "as listed"], ...entries], view.sort);
    }

    function change(update) {
      Object.assign(view, { page: 0 }, update);
      const state = new URLSearchParams();
      for (const key of ["status", "reason", "q", "sort"]) if (view[key]) state.set(key, view[key]);
      if (view.page) state.set("page", String(view.page + 1));
      const text = state.toString();
      // A notebook shows the page in a frame that may not touch its address.
      try { history.replaceState(null, "", text ? `#rows?${text}` : "#rows"); } catch { /* fine */ }
      render();
    }

    function fromAddress() {
      const [anchor, text = ""] = location.hash.split(/\?(.*)/s);
      if (anchor !== "#rows" || !location.hash.includes("?")) return false;
      const state = new URLSearchParams(text);
      for (const key of ["status", "reason", "q", "sort"]) view[key] = state.get(key) || "";
      view.page = Math.max(0, (parseInt(state.get("page"), 10) || 1) - 1);
      return true;
    }

    // ---- the list ----
    function render() {
      chips();
      reasons();
      orders();
      const search = byId("row-search");
      if (search.value !== view.q) search.value = view.q;
      const rows = matching();
      const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
      view.page = Math.min(view.page, pages - 1);
      const first = view.page * PAGE_ROWS;
      const shown = rows.slice(first, first + PAGE_ROWS);
      byId("row-list").replaceChildren(...shown.map(card));
      byId("row-count").textContent = rows.length
        ? `Rows ${count(first + 1)} to ${count(first + shown.length)} of ${count(rows.length)}`
        : "No row matches.";
      byId("row-page").textContent = `${count(view.page + 1)} / ${count(pages)}`;
      byId("row-previous").disabled = view.page === 0;
      byId("row-next").disabled = view.page >= pages - 1;
      byId("row-pager").hidden = pages < 2;
    }

    function card(row) {
      const status = STATUSES.includes(row.status) ? row.status : "read";
      const head = make("header", "",
        make("span", `badge ${status}`, WORDS[status]),
        row.reason ? make("span", "reason", visible(row.reason)) : null,
        row.rank == null ? null : make("span", "rank", `rank ${count(row.rank + 1)}`),
        make("code", "row-id", visible(row.id).slice(0, 12)),
        make("span", "origin", place(row)));
      const pair = partner(row);
      const body = pair ? beside(row, pair) : make("div", "turns", ...row.turns.map((t) => turn(t)));
      return make("article", "row", head, evidence(row), body, cut(row), features(row));
    }

    function place(row) {
      const words = row.origins.map(([file, line, id]) =>
        visible(`${file}${line == null ? "" : `:${line}`}${id ? ` (${id})` : ""}`));
      if (row.cut_origins) words.push(`and ${count(row.cut_origins)} more places`);
      return words.join(" · ");
    }

    function evidence(row) {
      if (!row.why || !row.why.length) return null;
      const lines = row.why.map((one) => {
        const parts = [`${one.op || "audit"}: ${one.reason}`];
        if (one.figure != null) parts.push(`strength ${figure(one.figure)}`);
        if (one.detail) parts.push(one.detail);
        if (one.other) parts.push(`see ${one.other.slice(0, known.has(one.other) ? 12 : 40)}`);
        return make("li", "", visible(parts.join(" · ")));
      });
      return make("ul", "evidence", ...lines);
    }

    function partner(row) {
      for (const one of row.why || []) {
        // hasOwn: a name such as "constructor" is not to find what every object inherits.
        const other = known.get(one.other)
          || (Object.hasOwn(data.partners, one.other) ? data.partners[one.other] : null);
        if (other) return { title: "the row that was kept", turns: other.turns, mark: "differs" };
        const item = Object.hasOwn(data.items, one.other) ? data.items[one.other] : null;
        if (item) {
          const turns = [["prompt", item[0]], ["answer", item[1]]];
          return { title: "the evaluation item", turns, mark: "shared" };
        }
      }
      return null;
    }

    function beside(row, pair) {
      const mine = make("div", "turns", make("h4", "", "this row"));
      const theirs = make("div", "turns", make("h4", "", pair.title));
      const all = (turns) => turns.map((one) => one[1]).join(" ");
      const [left, right] = [all(row.turns), all(pair.turns)];
      const marks = pair.mark === "shared"
        ? [shared(left, right), shared(right, left)] : null;
      const offsets = [0, 0];
      for (let i = 0; i < Math.max(row.turns.length, pair.turns.length); i += 1) {
        const [a, b] = [row.turns[i], pair.turns[i]];
        const flags = marks || differing(a ? a[1] : "", b ? b[1] : "");
        for (const [side, one, box] of [[0, a, mine], [1, b, theirs]]) {
          if (!one) continue;
          const size = split(one[1]).filter((word) => word.trim()).length;
          const mine_ = marks ? flags[side].slice(offsets[side], offsets[side] + size) : flags[side];
          offsets[side] += size;
          box.append(turn(one, mine_, pair.mark));
        }
      }
      const legend = pair.mark === "shared" ? "words that both share" : "words that differ";
      return make("div", "beside", mine, theirs,
        make("p", "diff-legend", make("mark", pair.mark, "marked"), `: ${legend}`));
    }

    function turn([role, text, trains], flags, kind) {
      const said = make("div", "said");
      said.dir = "auto";
      const shown = text.length > CLAMP_CHARS && !flags ? text.slice(0, CLAMP_CHARS) : text;
      if (flags) marked(said, text, flags, kind);
      else found(said, shown);
      if (shown !== text) {
        const more = make("button", "more", `\u2026 show all ${count(text.length)} characters`);
        more.type = "button";
        more.addEventListener("click", () => { said.replaceChildren(); found(said, text); });
        said.append(more);
      }
      if (!text) said.append(make("em", "", "(empty)"));
      const label = make("span", "role", visible(role).slice(0, 20));
      if (trains) label.title = "carries loss";
      return make("div", trains ? "turn trains" : "turn", label, said);
    }

    // Put text into an element, with what was searched for marked.
    function found(element, text) {
      const wanted = view.q.trim();
      if (!wanted) { element.append(visible(text)); return; }
      const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"), "gi");
      let at = 0;
      for (const hit of text.matchAll(pattern)) {
        element.append(visible(text.slice(at, hit.index)), make("mark", "hit", visible(hit[0])));
        at = hit.index + hit[0].length;
      }
      element.append(visible(text.slice(at)));
    }

    // Neighbouring marked words make one mark, the space between them too.
    function marked(element, text, flags, kind) {
      let [word, space, mark] = [0, "", null];
      for (const part of split(text)) {
        if (!part.trim()) { space = part; continue; }
        const isMarked = flags[word++];
        if (isMarked && mark) mark.append(space, visible(part));
        else {
          element.append(space);
          mark = isMarked ? make("mark", kind, visible(part)) : null;
          element.append(mark || visible(part));
        }
        space = "";
      }
      element.append(space);
    }

    function cut(row) {
      const parts = [];
      if (row.cut_chars) parts.push(`${count(row.cut_chars)} characters`);
      if (row.cut_turns) parts.push(`${count(row.cut_turns)} turns`);
      if (!parts.length) return null;
      const where = row.status === "quarantined" ? "quarantine.jsonl" : "pool/";
      return make("p", "cut-note", `${parts.join(" and ")} are not shown here; see ${where}.`);
    }

    function features(row) {
      if (!row.values) return null;
      const pairs = data.features.map((name, i) => make("span", row.values[i] == null ? "unscored" : "",
        make("span", "", visible(name)), make("b", "", figure(row.values[i]))));
      return make("footer", "features", ...pairs);
    }

    byId("row-search").addEventListener("input", (event) => change({ q: event.target.value }));
    byId("row-reason").addEventListener("change", (event) => change({ reason: event.target.value }));
    byId("row-sort").addEventListener("change", (event) => change({ sort: event.target.value }));
    const turnPage = (step) => {
      change({ page: view.page + step });
      byId("row-controls").scrollIntoView();
    };
    byId("row-previous").addEventListener("click", () => turnPage(-1));
    byId("row-next").addEventListener("click", () => turnPage(1));
    const open = () => {
      if (!fromAddress()) return;
      render();
      byId("rows").scrollIntoView();
    };
    window.addEventListener("hashchange", open);
    byId("row-controls").hidden = false;
    render();
    open();
  }

  // ---- comparing words -----------------------------------------------------------------------
  function split(text) { return text.split(/(\s+)/).filter((part) => part !== ""); }
  function words(text) { return split(text).filter((part) => part.trim()); }

  // For two texts, flag the words that are not in their longest common subsequence.
  function differing(left, right) {
    const [a, b] = [words(left), words(right)];
    let [start, end] = [0, 0];
    while (start < Math.min(a.length, b.length) && a[start] === b[start]) start += 1;
    while (end < Math.min(a.length, b.length) - start
      && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
    const flags = [new Array(a.length).fill(false), new Array(b.length).fill(false)];
    const [n, m] = [a.length - start - end, b.length - start - end];
    flags[0].fill(true, start, start + n);
    flags[1].fill(true, start, start + m);
    if (n > DIFF_WORDS || m > DIFF_WORDS) return flags;
    const width = m + 1;
    const longest = new Uint16Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i -= 1) {
      for (let j = m - 1; j >= 0; j -= 1) {
        longest[i * width + j] = a[start + i] === b[start + j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < n && j < m;) {
      if (a[start + i] === b[start + j]) {
        flags[0][start + i] = false;
        flags[1][start + j] = false;
        i += 1;
        j += 1;
      } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i += 1;
      else j += 1;
    }
    return flags;
  }

  // Flag the words of `text` that lie in a run of several words that `other` has too.
  function shared(text, other) {
    const bare = (part) => part.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
    const [a, b] = [words(text).map(bare), words(other).map(bare)];
    const size = Math.min(SHARED_WORDS, a.length, b.length);
    const runs = new Set();
    for (let i = 0; i + size <= b.length; i += 1) runs.add(b.slice(i, i + size).join(" "));
    const flags = new Array(a.length).fill(false);
    for (let i = 0; size && i + size <= a.length; i += 1) {
      if (runs.has(a.slice(i, i + size).join(" "))) flags.fill(true, i, i + size);
    }
    return flags;
  }

  // ---- navigation: show which section is on screen -------------------------------------------
  function spy() {
    const links = new Map([...document.querySelectorAll("#contents li a")]
      .map((link) => [link.getAttribute("href").slice(1), link]));
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-15% 0px -75% 0px" });
    for (const section of document.querySelectorAll("main > section")) watcher.observe(section);
  }
})();
