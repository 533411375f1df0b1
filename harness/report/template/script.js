// Fills a table of pairs when it is opened. Texts are set as textContent, so prompts and answers never become markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 20;
  const make = (tag, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  };
  const WORDS = { flip: { "-": "no longer refused", "0": "same", "1": "newly refused", "2": "broken" }, flag: { "0": "no", "1": "yes" } };
  // A text stands without its beginning that the text before it has too, behind that one's length.
  let before = "";
  const words = data.words.map((text) => (before = before.slice(0, parseInt(text[0], 36)) + text.slice(1)));

  function fill(box) {
    const kept = data.tables[Number(box.dataset.table)];
    const table = { ...kept, places: data.places[kept.places], columns: kept.columns.map((at) => data.columns[at]) };
    const pairs = data.rows[data.pairs[table.model]] || {};
    const word = (at) => words[at];
    const cell = ({ kind, values }, at) => (kind === "text" ? word(values[at]) : values[at] === " " ? null : values[at]);
    const rows = table.places.map((place, at) => {
      const pair = (pairs[place] || []).map(word);
      const cells = table.columns.map((column) => cell(column, at));
      const texts = cells.filter((_, column) => table.columns[column].kind === "text");
      return { pair, cells, text: [...pair, ...texts].join(" ").toLowerCase() };
    });
    const heads = ["pair", "category", "prompt, and its twin", ...table.columns.map((column) => column.title)];
    const value = (row, at) => (at < 3 ? row.pair[at] || "" : row.cells[at - 3]);
    let shown = PAGE, by = -1, sign = 1, wanted = "";

    const tools = make("div", undefined, "tools");
    const label = make("label", "search ");
    const search = make("input");
    search.type = "search";
    label.append(search);
    const count = make("span");
    count.setAttribute("role", "status");
    tools.append(label, count);
    const scroll = make("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `pairs of ${box.closest("article").getAttribute("aria-label")}, a table that may scroll`);
    const grid = make("table"), body = make("tbody"), line = make("tr"), top = make("thead");
    const more = make("button", "show more", "more");
    const headings = heads.map((name, at) => {
      const cell = make("th"), button = make("button", name);
      cell.scope = "col";
      button.type = "button";
      button.addEventListener("click", () => {
        sign = by === at ? -sign : 1;
        by = at;
        draw();
      });
      cell.append(button);
      line.append(cell);
      return cell;
    });
    top.append(line);
    grid.append(top, body);
    scroll.append(grid);
    box.append(tools, scroll, more);

    function draw() {
      let matches = wanted ? rows.filter((row) => row.text.includes(wanted)) : rows;
      if (by >= 0) {
        const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
        matches = [...matches].sort((a, b) => {
          const [left, right] = [value(a, by), value(b, by)];
          if (left === null || right === null) return (left === null) - (right === null);
          return sign * order(left, right);
        });
      }
      headings.forEach((cell, at) => cell.setAttribute("aria-sort", at !== by ? "none" : sign > 0 ? "ascending" : "descending"));
      body.replaceChildren(...matches.slice(0, shown).map((row) => {
        const node = make("tr");
        node.append(make("td", row.pair[0]), make("td", row.pair[1]));
        const prompt = make("td", row.pair[2], "text");
        prompt.append(make("span", row.pair[3], "twin"));
        node.append(prompt);
        row.cells.forEach((cell, at) => {
          const kind = table.columns[at].kind;
          const text = cell === null ? "none" : WORDS[kind] ? WORDS[kind][cell] : cell;
          node.append(make("td", text, kind === "text" ? "text" : "num"));
        });
        return node;
      }));
      const cut = table.whole > rows.length ? `; the table holds ${rows.length} of ${table.whole}, chosen evenly from the smallest to the largest effect` : "";
      count.textContent = `${Math.min(shown, matches.length)} of ${matches.length} pairs shown${cut}`;
      more.hidden = matches.length <= shown;
    }
    search.addEventListener("input", () => {
      wanted = search.value.toLowerCase();
      shown = PAGE;
      draw();
    });
    more.addEventListener("click", () => {
      shown += 5 * PAGE;
      draw();
    });
    draw();
  }

  // Folded parts open when a link leads into them, and before printing.
  const open = (node) => {
    for (let at = node; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  };
  const reveal = () => {
    const wanted = document.querySelector(":target");
    if (!wanted) return;
    open(wanted.parentElement);
    wanted.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => document.querySelectorAll("details:not(.pairs)").forEach((box) => (box.open = true)));
  reveal();

  for (const box of document.querySelectorAll("details.pairs"))
    box.addEventListener("toggle", () => box.open && box.childElementCount === 1 && fill(box));
})();
