(() => {
  const data = JSON.parse(document.getElementById("data").textContent), trials = data.trials;
  const find = id => document.getElementById(id), tip = find("tip");
  const count = trials.id.length, rows = [...trials.id.keys()], rowOf = new Map(trials.id.map((id, i) => [id, i]));
  const front = new Set(data.front), DONE = data.statuses.indexOf("done");
  const children = new Map();
  trials.parent.forEach((parent, i) => { if (parent !== null) children.set(parent, [...(children.get(parent) || []), trials.id[i]]); });

  const node = (name, attributes = {}, ...inside) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  };

  // ---- metrics

  const columns = { ...trials.metrics, ...(trials.reward ? { reward: trials.reward } : {}) };
  const metrics = Object.keys(columns), axes = [...data.maximize, ...data.minimize].filter(name => name in columns);
  const goals = trials.reward ? ["reward", ...axes] : axes.length ? axes : metrics;
  const smallIsGood = name => data.minimize.includes(name) || (!data.maximize.includes(name) && name !== "reward" && !name.startsWith("accuracy"));
  const UNITS = { latency: "ms", energy: "mJ", seconds: "s" }, BYTES = ["peak_memory", "flash"];
  const title = name => BYTES.includes(name) ? `${name.replace("_", " ")} (kB)` : name in UNITS ? `${name} (${UNITS[name]})` : name.replaceAll("_", " ");
  const whole = i => trials.status[i] === DONE && trials.fidelity[i] === 1;

  function short(name, value) {
    if (value === null || value === undefined) return "–";
    if (BYTES.includes(name)) return Number((value / 1000).toPrecision(4)).toLocaleString("en");
    const size = Math.abs(value);
    for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) if (size >= limit) return `${+(value / (limit === 1e4 ? 1e3 : limit)).toPrecision(4)}${unit}`;
    return Number.isInteger(value) ? value.toLocaleString("en") : String(+value.toPrecision(4));
  }

  const unit = name => BYTES.includes(name) ? " kB" : name in UNITS ? ` ${UNITS[name]}` : "";
  const figure = (name, i) => `${name.replaceAll("_", " ")} ${short(name, columns[name][i])}${columns[name][i] === null ? "" : unit(name)}`;
  const plain = text => text.replaceAll("`", "");
  const origin = i => plain(trials.texts[trials.origin[i]]), reason = i => plain(trials.texts[trials.reason[i]]);

  function told(i) {
    const from = trials.parent[i] === null ? "" : `trial ${trials.parent[i]}: `;
    const shown = metrics.filter(name => columns[name][i] !== null).map(name => figure(name, i));
    return [`trial ${trials.id[i]}${front.has(trials.id[i]) ? ", on the front" : ""}`, ...shown, from + origin(i), reason(i)].filter(Boolean).join("\n");
  }

  // ---- what is chosen

  const state = { trial: data.best ?? trials.id[0] ?? null, tab: "source", sort: "trial", down: false, shown: 100, filter: "", status: "", brushes: new Map() };

  function choose(id, tab) {
    if (!rowOf.has(id)) return;
    state.trial = id;
    state.tab = tab || state.tab;
    detail();
    marks();
    const words = new URLSearchParams(location.hash.slice(1));
    words.set("trial", id);
    words.set("tab", state.tab);
    history.replaceState(null, "", `#${words}`);
  }

  function follow() {
    const words = new URLSearchParams(location.hash.slice(1));
    for (const name of ["filter", "status", "sort"]) if (words.has(name)) state[name] = words.get(name);
    if (words.has("theme")) document.documentElement.dataset.theme = words.get("theme") === "dark" ? "dark" : "light";
    find("filter").value = state.filter;
    find("status").value = state.status;
    table();
    if (words.has("trial") || words.has("tab")) choose(Number(words.get("trial") ?? state.trial), TABS[words.get("tab")] && words.get("tab"));
  }

  // ---- hover and click on charts

  function say(text, event) {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 16 + height > innerHeight ? Math.max(4, event.clientY - height - 10) : event.clientY + 16}px`;
  }

  // points: [x, y, row]
  function touch(svg, points) {
    const at = event => {
      const box = svg.getBoundingClientRect();
      return Chart.nearest(points, event.clientX - box.left, event.clientY - box.top, 16);
    };
    svg.addEventListener("pointermove", event => {
      const found = at(event);
      svg.style.cursor = found ? "pointer" : "";
      if (found) say(told(found[2]), event); else tip.hidden = true;
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
    svg.addEventListener("click", event => { const found = at(event); if (found) choose(trials.id[found[2]]); });
  }

  function point(x, y, i, kind = "point") {
    const made = Chart.el("circle", { class: kind, cx: x, cy: y, r: kind === "point" ? 6 : 4.5, tabindex: 0, role: "button", "data-trial": trials.id[i], "aria-label": told(i).replaceAll("\n", ", ") });
    made.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(trials.id[i]); } });
    made.addEventListener("click", event => { event.stopPropagation(); choose(trials.id[i]); });
    return made;
  }

  const rings = [];  // one for each chart: [chart, place of a row]

  function marks() {
    for (const [chart, place] of rings) {
      chart.svg.querySelector(".ring")?.remove();
      const at = place(rowOf.get(state.trial));
      if (at) chart.svg.append(Chart.el("circle", { class: "ring", cx: at[0], cy: at[1], r: 9 }));
    }
    for (const row of document.querySelectorAll("#trials tbody tr")) row.classList.toggle("chosen", Number(row.dataset.trial) === state.trial);
    chain();
    parallel.chosen();
  }

  function select(id, names, chosen, draw) {
    const box = find(id);
    box.replaceChildren(...names.map(name => node("option", { value: name }, title(name))));
    if (names.includes(chosen)) box.value = chosen;
    box.addEventListener("change", draw);
    return () => box.value;
  }

  const axis = (name, values) => ({ label: title(name), values, format: value => short(name, value) });
  const empty = (host, text) => host.replaceChildren(node("p", { class: "empty" }, text));

  function charted(host, place) {
    const at = rings.findIndex(([chart]) => chart.host === host);
    if (at >= 0) rings.splice(at, 1);
    return chart => { chart.host = host; rings.push([chart, place]); };
  }

  // ---- the front

  const frontX = select("front-x", metrics, axes[1] ?? metrics.find(name => name !== axes[0]), () => { drawFront(); marks(); });
  const frontY = select("front-y", metrics, axes[0] ?? metrics[0], () => { drawFront(); marks(); });

  function drawFront() {
    const host = find("front-chart"), [x, y] = [columns[frontX()], columns[frontY()]];
    const shown = x && y ? rows.filter(i => whole(i) && x[i] !== null && y[i] !== null) : [];
    if (!shown.length) return empty(host, "no candidate has been evaluated to its end yet");
    const keep = charted(host, i => shown.includes(i) ? [chart.sx(x[i]), chart.sy(y[i])] : null);
    const chart = Chart.axes(host, axis(frontX(), shown.map(i => x[i])), axis(frontY(), shown.map(i => y[i])), 460);
    const points = shown.map(i => [chart.sx(x[i]), chart.sy(y[i]), i]), on = points.filter(([, , i]) => front.has(trials.id[i]));
    limits(chart);
    chart.svg.append(Chart.dots(points.filter(([, , i]) => !front.has(trials.id[i]))));
    if (axes.length === 2 && axes.includes(frontX()) && axes.includes(frontY())) chart.svg.append(Chart.line([...on].sort((a, b) => a[0] - b[0] || a[1] - b[1]), { class: "step" }));
    chart.svg.append(...on.map(([px, py, i]) => point(px, py, i)));
    touch(chart.svg, points);
    keep(chart);
  }

  function limits(chart) {
    let any = false;
    for (const [metric, , limit] of data.require) {
      const inside = ([low, high]) => limit >= low && limit <= high;
      if (metric === frontX() && inside(chart.x)) { any = true; chart.svg.append(Chart.el("line", { class: "limit", x1: chart.sx(limit), x2: chart.sx(limit), y1: chart.top, y2: chart.bottom })); }
      if (metric === frontY() && inside(chart.y)) { any = true; chart.svg.append(Chart.el("line", { class: "limit", x1: chart.left, x2: chart.right, y1: chart.sy(limit), y2: chart.sy(limit) })); }
    }
    document.querySelector(".limits").hidden = !any;
  }

  // ---- convergence

  const AREA = "front's area";
  const overTime = trials.seconds.some(value => value > 0.01);
  const progressY = select("convergence-y", axes.length === 2 ? [AREA, ...goals] : goals, goals[0], () => { drawProgress(); marks(); });
  const progressX = select("convergence-x", overTime ? ["trial", "evaluation time"] : ["trial"], "trial", () => { drawProgress(); marks(); });

  // The part of the rectangle around all points that the front covers, after each of them (the hypervolume of two objectives).
  function areas(shown) {
    const large = axes.map(name => i => smallIsGood(name) ? -columns[name][i] : columns[name][i]);
    const low = large.map(of => Math.min(...shown.map(of))), high = large.map(of => Math.max(...shown.map(of)));
    const scaled = i => large.map((of, k) => high[k] > low[k] ? (of(i) - low[k]) / (high[k] - low[k]) : 1);
    let members = [];
    return shown.map(i => {
      const [a, b] = scaled(i);
      if (!members.some(([c, d]) => c >= a && d >= b)) members = [...members.filter(([c, d]) => !(a >= c && b >= d)), [a, b]].sort((p, q) => q[0] - p[0]);
      return members.reduce((sum, [c, d], k) => sum + c * (d - (k ? members[k - 1][1] : 0)), 0);
    });
  }

  function drawProgress() {
    const host = find("convergence-chart"), name = progressY(), shown = rows.filter(i => whole(i) && (name === AREA ? axes.every(each => columns[each][i] !== null) : columns[name]?.[i] != null));
    if (!shown.length) return empty(host, "nothing to show yet");
    const values = name === AREA ? areas(shown) : shown.map(i => columns[name][i]);
    const better = name !== AREA && smallIsGood(name) ? Math.min : Math.max;
    let spent = 0;
    const clock = rows.map(i => spent += trials.seconds[i]), timed = progressX() !== "trial";
    const x = shown.map(i => timed ? clock[i] : trials.id[i]);
    const chart = Chart.axes(host, { ...axis(timed ? "seconds" : "trial", [0, ...x]), label: timed ? "evaluation time (s)" : "trial" }, axis(name, values), 300);
    const points = shown.map((i, k) => [chart.sx(x[k]), chart.sy(values[k]), i]), steps = [];
    let best = null;
    values.forEach((value, k) => {
      const next = best === null ? value : better(best, value);
      if (best !== null && next !== best) steps.push([points[k][0], chart.sy(best)]);
      if (next !== best) steps.push([points[k][0], chart.sy(next)]);
      best = next;
    });
    steps.push([chart.sx(timed ? spent : trials.id[count - 1]), chart.sy(best)]);
    if (name !== AREA) chart.svg.append(Chart.dots(points));
    chart.svg.append(Chart.line(steps, { class: "step", "data-best": best }));
    touch(chart.svg, points);
    const at = new Map(points.map(each => [each[2], each]));
    charted(host, i => at.get(i))(chart);
  }

  // ---- lineage

  const ancestry = id => {
    const chain = [];
    for (let at = id; rowOf.has(at) && !chain.includes(at); at = trials.parent[rowOf.get(at)]) chain.push(at);
    return chain;
  };
  const lineageY = select("lineage-y", goals, goals[0], () => { drawLineage(); marks(); });
  let lineage = null;

  function drawLineage() {
    const host = find("lineage-chart"), y = columns[lineageY()] ?? [];
    const all = [...new Set(data.front.flatMap(ancestry))].map(id => rowOf.get(id)).filter(i => y[i] != null);
    lineage = null;
    if (!all.length) return empty(host, "nothing to show yet");
    const chart = Chart.axes(host, axis("trial", [0, ...all.map(i => trials.id[i])]), axis(lineageY(), all.map(i => y[i])), 300);
    const at = new Map(all.map(i => [i, [chart.sx(trials.id[i]), chart.sy(y[i]), i]]));
    for (const i of all) {
      const from = at.get(rowOf.get(trials.parent[i])), to = at.get(i);
      if (from) chart.svg.append(Chart.el("path", { class: "link", "data-to": trials.id[i], d: `M${from[0]} ${from[1]}C${(from[0] + to[0]) / 2} ${from[1]} ${(from[0] + to[0]) / 2} ${to[1]} ${to[0]} ${to[1]}` }));
    }
    for (const [px, py, i] of at.values()) chart.svg.append(point(px, py, i, front.has(trials.id[i]) ? "point" : "parent"));
    touch(chart.svg, [...at.values()]);
    lineage = chart;
    charted(host, i => at.get(i))(chart);
  }

  function chain() {
    if (!lineage) return;
    const on = new Set(ancestry(state.trial));
    for (const link of lineage.svg.querySelectorAll(".link")) link.classList.toggle("chosen", on.has(Number(link.dataset.to)));
  }

  // ---- one candidate

  // A source in spans of the classes that the language's highlighters give.
  const rules = data.rules.map(([pattern, kinds]) => [new RegExp(pattern, "dy"), kinds]);
  const CLASSES = { number: "number-literal", step: "step-word" };

  function coloured(text) {
    const made = document.createDocumentFragment();
    const add = (part, kind) => made.append(kind ? node("span", { class: CLASSES[kind] ?? kind }, part) : part);
    let plain = "";
    for (let at = 0; at < text.length;) {
      const hit = rules.map(([pattern, kinds]) => { pattern.lastIndex = at; return [pattern.exec(text), kinds]; }).find(([match]) => match && match[0]);
      if (!hit) { plain += text[at++]; continue; }
      if (plain) add(plain);
      plain = "";
      const [match, kinds] = hit;
      if (kinds.length === 1) add(match[0], kinds[0]); else kinds.forEach((kind, k) => add(match[k + 1], kind));
      at += match[0].length;
    }
    if (plain) add(plain);
    return made;
  }

  const link = id => {
    const made = node("a", { href: `#trial=${id}` }, `trial ${id}`);
    made.addEventListener("click", event => { event.preventDefault(); choose(id); });
    return made;
  };

  function change(name, i, from) {
    const [before, after] = [columns[name][from], columns[name][i]];
    if (!before || after === null || before === after) return "";
    const percent = 100 * (after - before) / before, good = (after < before) === smallIsGood(name);
    return node("small", { class: good ? "better" : "worse" }, ` ${percent > 0 ? "+" : ""}${percent.toFixed(Math.abs(percent) < 10 ? 1 : 0)} %`);
  }

  const TABS = { source: panelSource, diff: panelDiff, layers: panelLayers, drawing: panelDrawing, decisions: panelDecisions, lineage: panelLineage };

  function detail() {
    const host = find("detail"), i = rowOf.get(state.trial), id = state.trial;
    if (i === undefined) return empty(host, "no candidates yet");
    const known = data.details[id] ?? {}, from = rowOf.get(trials.parent[i]);
    const has = { source: known.source, diff: known.diff, layers: known.layers, drawing: known.drawing, decisions: data.decisions.some(each => each.picks[i] !== null), lineage: true };
    const tabs = Object.keys(TABS).filter(tab => has[tab]), tab = tabs.includes(state.tab) ? state.tab : tabs[0];
    const status = data.statuses[trials.status[i]], story = node("p", { class: "story" });
    if (from !== undefined) story.append("from ", link(trials.parent[i]), ": ");
    story.append(origin(i));
    const head = node("h3", {}, `trial ${id}`, front.has(id) ? ", on the front" : status === "done" ? "" : ", ");
    if (status !== "done") head.append(node("span", { class: status }, status + (reason(i) ? `: ${reason(i)}` : "")));
    if (trials.fidelity[i] !== 1) head.append(node("small", {}, ` at a fidelity of ${trials.fidelity[i]}`));
    const figures = node("ul", { class: "figures" }, ...metrics.filter(name => columns[name][i] !== null).map(name => node("li", {}, figure(name, i), from === undefined ? "" : change(name, i, from))));
    const bar = node("div", { role: "tablist" }, ...tabs.map(each => button(each, each === tab)));
    if (known.source) bar.append(saver(id, known.source));
    const panel = node("div", { class: "panel", role: "tabpanel", id: "panel", "data-tab": tab });
    TABS[tab](panel, i, known);
    if (known.error) panel.prepend(node("p", { class: "failed" }, known.error));
    if (!known.source) panel.append(node("p", { class: "note" }, "The page keeps the sources of the best candidates only; the run's database has all."));
    host.replaceChildren(head, story, figures, bar, panel);
  }

  function button(tab, on) {
    const made = node("button", { type: "button", role: "tab", "aria-selected": on, "data-tab": tab }, tab);
    made.addEventListener("click", () => { choose(state.trial, tab); find("detail").querySelector(`[data-tab=${tab}]`).focus(); });
    return made;
  }

  function saver(id, text) {
    const made = node("button", { type: "button", id: "save" }, "save .arch");
    made.addEventListener("click", () => save(`${data.name.replace(/\W+/g, "_")}_${String(id).padStart(3, "0")}.arch`, text, "text/plain"));
    return made;
  }

  function save(name, text, type) {
    const address = URL.createObjectURL(new Blob([text], { type })), made = node("a", { href: address, download: name });
    made.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  function panelSource(host, i, known) { host.append(node("pre", { class: "source" }, coloured(known.source))); }

  function panelDiff(host, i, known) {
    if (!known.diff.length) return empty(host, "the same text as its parent");
    const kinds = { "+": "add", "-": "cut", "@": "hunk" };
    const lines = known.diff.map((text, k) => node("span", { class: k < 2 ? "hunk" : kinds[text[0]] ?? "" }, text + (kinds[text[0]] ? "" : "\n")));
    host.append(node("pre", { class: "diff" }, ...lines));
  }

  function panelLayers(host, i, known) {
    const heads = ["layer", "op", "output", "n", "params", "MACs"], most = [4, 5].map(k => Math.max(1, ...known.layers.map(line => line[k])));
    const cell = (value, k) => k < 3 ? node("td", {}, value) : node("td", { class: "number" }, value.toLocaleString("en"));
    const body = known.layers.map(line => {
      const cells = line.map(cell);
      [4, 5].forEach((k, m) => { cells[k].style.background = `linear-gradient(to left, var(--grid) ${100 * line[k] / most[m]}%, transparent 0)`; });
      return node("tr", {}, ...cells);
    });
    host.append(node("table", { id: "layers" }, node("thead", {}, node("tr", {}, ...heads.map((text, k) => node("th", k < 3 ? {} : { class: "number" }, text)))), node("tbody", {}, ...body)));
  }

  function panelDrawing(host, i, known) {
    const made = node("div", { class: "drawing" });
    made.innerHTML = known.drawing;  // from archlang.draw, which escapes; the page's policy lets nothing in it run
    host.append(made);
  }

  function panelDecisions(host, i) {
    const parent = rowOf.get(trials.parent[i]);
    const lines = data.decisions.filter(each => each.picks[i] !== null).map(each => {
      const was = parent === undefined ? null : each.picks[parent], now = each.picks[i];
      const before = was !== null && was !== now ? node("small", { class: "note" }, ` was ${each.values[was] ?? was}`) : "";
      return node("tr", {}, node("td", {}, each.label), node("td", {}, each.values[now] ?? String(now), before));
    });
    host.append(node("table", { class: "plain" }, ...lines));
  }

  function panelLineage(host, i) {
    const steps = ancestry(trials.id[i]).reverse().map(id => {
      const at = rowOf.get(id), from = rowOf.get(trials.parent[at]);
      const figures = goals.filter(name => columns[name][at] !== null).map(name => node("span", {}, ` · ${figure(name, at)}`, from === undefined ? "" : change(name, at, from)));
      return node("li", {}, link(id), `: ${origin(at)}`, ...figures);
    });
    host.append(node("ol", { class: "chain" }, ...steps));
    const after = children.get(trials.id[i]) ?? [];
    if (after.length) host.append(node("p", { class: "note" }, `what came of it (${after.length}): `, ...after.slice(0, 40).flatMap(id => [link(id), " "]), after.length > 40 ? "…" : ""));
  }

  // ---- decisions side by side

  const parallel = (() => {
    const host = find("parallel-chart"), HEIGHT = 330, TOP = 92, LOW = HEIGHT - 16;
    const shown = rows.filter(whole);
    const decided = data.decisions.filter(each => new Set(shown.map(i => each.picks[i])).size > 1);
    const measured = decided.length ? [...new Set([...goals, ...data.require.map(([metric]) => metric)])].filter(name => name in columns) : metrics;
    if (!decided.length) find("parallel").querySelector("h2").textContent = "Metrics side by side";
    const colour = select("parallel-colour", goals, goals[0], () => draw());
    let rails = [], canvas = null, over = null;

    function railOf(each) {
      const used = each.values, place = Chart.linear(-0.5, Math.max(0.5, used.length - 0.5), LOW, TOP);
      const room = 0.3 * Math.min(40, (LOW - TOP) / Math.max(1, used.length)), aside = i => (i * 0.618034 % 1 - 0.5) * 2 * room;  // so that lines of one alternative lie side by side
      return { key: each.key, label: each.label, at: i => each.picks[i] === null ? LOW + 9 : place(each.picks[i]) + aside(i), ticks: each.values.map((text, k) => [place(k), text]) };
    }

    function railOfMetric(name) {
      const values = shown.map(i => columns[name][i]).filter(value => value !== null), low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), -Infinity);
      const place = high > low ? Chart.linear(low, high, LOW - 8, TOP + 8) : () => (LOW + TOP) / 2;
      return { key: name, label: title(name), at: i => columns[name][i] === null ? LOW + 9 : place(columns[name][i]), ticks: high > low ? [[place(low), short(name, low)], [place(high), short(name, high)]] : [[place(low), short(name, low)]] };
    }

    const kept = i => [...state.brushes].every(([key, [low, high]]) => { const y = rails.find(rail => rail.key === key)?.at(i); return y === undefined || (y >= low && y <= high); });

    function build() {
      if (!shown.length) return empty(host, "nothing to show yet");
      rails = [...decided.map(railOf), ...measured.map(railOfMetric)];
      const gap = Math.max(58, Math.min(decided.length ? 150 : 220, (host.parentNode.clientWidth - 110) / Math.max(1, rails.length - 1))), width = Math.max(host.parentNode.clientWidth, gap * (rails.length - 1) + 130);
      rails.forEach((rail, k) => { rail.x = 40 + k * gap; });
      canvas = node("canvas", { "aria-hidden": "true" });
      const ratio = devicePixelRatio || 1;
      Object.assign(canvas, { width: width * ratio, height: HEIGHT * ratio });
      Object.assign(canvas.style, { width: `${width}px`, height: `${HEIGHT}px` });
      over = Chart.el("svg", { width, height: HEIGHT });
      rails.forEach(addRail);
      over.append(Chart.el("path", { class: "link chosen" }));
      host.replaceChildren(canvas, over);
      draw();
    }

    function addRail(rail) {
      const group = Chart.el("g", { class: "tick", "data-key": rail.key }), longest = rail.label.length > 24 ? `${rail.label.slice(0, 23)}…` : rail.label;
      group.append(Chart.el("line", { class: "rail", x1: rail.x, x2: rail.x, y1: TOP, y2: LOW }));
      group.append(Chart.el("text", { transform: `translate(${rail.x - 3} ${TOP - 8}) rotate(-32)` }, longest, Chart.el("title", {}, rail.label)));
      const step = Math.ceil(rail.ticks.length / 14);
      rail.ticks.forEach(([y, text], k) => { if (k % step === 0) group.append(Chart.el("text", { x: rail.x + 5, y: y + 4 }, text.length > 12 ? `${text.slice(0, 11)}…` : text, Chart.el("title", {}, text))); });
      const handle = Chart.el("rect", { class: "handle", x: rail.x - 12, y: TOP - 4, width: 24, height: LOW - TOP + 18 }), brush = Chart.el("rect", { class: "brush", x: rail.x - 7, width: 14, y: 0, height: 0 });
      let from = null;
      const y = event => event.clientY - over.getBoundingClientRect().top;
      handle.addEventListener("pointerdown", event => { from = y(event); handle.setPointerCapture(event.pointerId); });
      handle.addEventListener("pointermove", event => { if (from !== null) keep(rail.key, from, y(event)); });
      handle.addEventListener("pointerup", event => { if (from !== null && Math.abs(y(event) - from) < 4) keep(rail.key, 0, 0); from = null; });
      rail.brush = brush;
      group.append(brush, handle);
      over.append(group);
    }

    function keep(key, a, b) {
      if (Math.abs(a - b) < 4) state.brushes.delete(key); else state.brushes.set(key, [Math.min(a, b), Math.max(a, b)]);
      draw();
      table();
    }

    function draw() {
      if (!canvas) return;
      const context = canvas.getContext("2d"), ratio = devicePixelRatio || 1, name = colour(), style = getComputedStyle(document.documentElement);
      const values = columns[name] ?? [], ordered = shown.filter(kept).sort((a, b) => (smallIsGood(name) ? -1 : 1) * ((values[a] ?? 0) - (values[b] ?? 0)));
      const [low, high, mark] = ["--low", "--high", "--mark"].map(each => style.getPropertyValue(each).trim());
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
      ordered.forEach((i, k) => {
        const part = Math.round(100 * k / Math.max(1, ordered.length - 1));
        stroke(context, i, `color-mix(in oklab, ${high} ${part}%, ${low})`, 1.1, Math.max(0.08, Math.min(0.7, 40 / ordered.length)));
      });
      for (const i of ordered.filter(i => front.has(trials.id[i]))) stroke(context, i, mark, 1.3, 0.75);
      for (const rail of rails) {
        const [from, to] = state.brushes.get(rail.key) ?? [0, 0];
        rail.brush.setAttribute("y", from);
        rail.brush.setAttribute("height", to - from);
      }
      find("unbrush").hidden = !state.brushes.size;
      chosen();
    }

    function stroke(context, i, colour, width, alpha) {
      context.globalAlpha = alpha;
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      rails.forEach((rail, k) => context[k ? "lineTo" : "moveTo"](rail.x, rail.at(i)));
      context.stroke();
    }

    function chosen() {
      const i = rowOf.get(state.trial), path = over?.querySelector(".link");
      if (path) path.setAttribute("d", i !== undefined && whole(i) ? rails.map((rail, k) => `${k ? "L" : "M"}${rail.x} ${rail.at(i)}`).join("") : "");
    }

    find("unbrush").addEventListener("click", () => { state.brushes.clear(); draw(); table(); });
    return { build, chosen, draw, kept };
  })();

  // ---- the table

  const compares = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
  const heads = ["trial", ...metrics, "status", "from", "story", ...(overTime ? ["seconds"] : [])];

  const cells = {
    trial: i => trials.id[i], status: i => front.has(trials.id[i]) ? "front" : data.statuses[trials.status[i]], from: i => trials.parent[i],
    story: i => [origin(i), reason(i)].filter(Boolean).join(" — "), seconds: i => trials.seconds[i],
  };
  const valueOf = (name, i) => name in cells ? cells[name](i) : columns[name][i];

  // Words must all occur; `metric < number` must hold.
  function wanted() {
    const tests = [], rest = state.filter.replace(/(\w+)\s*(<=|>=|<|>|=)\s*([\d.eE+-]+)/g, (all, name, op, limit) => {
      if (!(name in columns) && !["trial", "from", "seconds"].includes(name)) return all;
      tests.push(i => valueOf(name, i) !== null && compares[op](valueOf(name, i), Number(limit)));
      return "";
    });
    const words = rest.toLowerCase().split(/\s+/).filter(Boolean);
    return i => tests.every(test => test(i)) && (!words.length || words.every(word => `${cells.story(i)} ${cells.status(i)} trial ${trials.id[i]}`.toLowerCase().includes(word)));
  }

  function listed() {
    const holds = wanted(), of = i => valueOf(state.sort, i);
    const found = rows.filter(i => holds(i) && (!state.status || cells.status(i) === state.status || data.statuses[trials.status[i]] === state.status) && (!state.brushes.size || (whole(i) && parallel.kept(i))));
    const sign = state.down ? -1 : 1;
    return found.sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "string" ? x.localeCompare(y) : x - y) || a - b;
    });
  }

  function table() {
    const found = listed(), head = node("tr", {}, ...heads.map(headCell));
    document.querySelector("#trials thead").replaceChildren(head);
    document.querySelector("#trials tbody").replaceChildren(...found.slice(0, state.shown).map(line));
    find("shown").textContent = `${found.length} of ${count}`;
    find("more").hidden = found.length <= state.shown;
  }

  const numeric = name => !["status", "story"].includes(name);

  function headCell(name) {
    const made = node("button", { type: "button", "data-sort": name }, title(name) + (state.sort === name ? (state.down ? " ▾" : " ▴") : ""));
    made.addEventListener("click", () => {
      state.down = state.sort === name ? !state.down : name in columns && !smallIsGood(name);
      state.sort = name;
      table();
      document.querySelector(`#trials [data-sort="${CSS.escape(name)}"]`).focus();
    });
    return node("th", { ...(numeric(name) ? { class: "number" } : {}), "aria-sort": state.sort === name ? (state.down ? "descending" : "ascending") : "none" }, made);
  }

  function line(i) {
    const made = node("tr", { "data-trial": trials.id[i], tabindex: 0 });
    for (const name of heads) {
      const value = valueOf(name, i), kind = name === "status" ? (value === "front" ? "on" : value) : numeric(name) ? "number" : "text";
      made.append(node("td", { class: kind }, name === "trial" || name === "from" ? value ?? "" : numeric(name) ? short(name, value) : value));
    }
    made.classList.toggle("chosen", trials.id[i] === state.trial);
    const open = () => { choose(trials.id[i]); find("front").scrollIntoView({ block: "start" }); };
    made.addEventListener("click", open);
    made.addEventListener("keydown", event => { if (event.key === "Enter") open(); });
    return made;
  }

  // A text that a spreadsheet would take for a formula gets an apostrophe.
  const quoted = value => { const text = value === null || value === undefined ? "" : typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value); return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text; };

  function csv() {
    const names = ["trial", "status", "parent", "origin", "reason", "seconds", ...metrics, ...data.decisions.map(each => each.label)];
    const lines = listed().map(i => [trials.id[i], cells.status(i), trials.parent[i], origin(i), reason(i), trials.seconds[i], ...metrics.map(name => columns[name][i]), ...data.decisions.map(each => each.picks[i] === null ? null : each.values[each.picks[i]] ?? each.picks[i])]);
    return [names, ...lines].map(each => each.map(quoted).join(",")).join("\n") + "\n";
  }

  // ---- the page

  const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  const themed = name => { root.dataset.theme = name; parallel.draw(); };
  dark.addEventListener("change", () => themed(dark.matches ? "dark" : "light"));
  find("theme").addEventListener("click", () => themed(root.dataset.theme === "dark" ? "light" : "dark"));
  root.dataset.theme = dark.matches ? "dark" : "light";

  for (const status of data.statuses) find("status").append(node("option", {}, status));
  find("filter").addEventListener("input", () => { state.filter = find("filter").value; state.shown = 100; table(); });
  find("status").addEventListener("change", () => { state.status = find("status").value; state.shown = 100; table(); });
  find("more").addEventListener("click", () => { state.shown += 400; table(); });
  find("csv").addEventListener("click", () => save(`${data.name.replace(/\W+/g, "_")}.csv`, csv(), "text/csv"));
  const search = find("search");
  if (search) search.replaceChildren(coloured(search.textContent));

  function drawAll() {
    drawFront();
    drawProgress();
    drawLineage();
    parallel.build();
    marks();
  }

  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 120);
  });
  addEventListener("hashchange", follow);
  detail();
  follow();
  drawAll();
})();
