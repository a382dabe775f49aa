"use strict";
// The HTML page: shows the drawing, opens and closes boxes in place, and tells about the one under the pointer.

(function () {
  const data = JSON.parse(document.getElementById("drawing").textContent);
  const { boxes, constants } = data, place = layoutOf(data, constants);
  const find = name => document.getElementById(name);
  const svg = find("canvas"), world = find("world"), tip = find("tip"), search = find("search"), count = find("count");
  const SVG = svg.namespaceURI;
  const parents = new Map(), states = new Map(), groups = new Map();
  let right = data.right, view = { x: 0, y: 0, scale: 1 }, placed, shown = [], focused = 0, hits = [], hit = -1;

  boxes.forEach((box, id) => box.kids.forEach(kid => { if (!parents.has(kid)) parents.set(kid, id); }));
  boxes.forEach((box, id) => { if (box.each !== null) parents.set(box.each, id); });

  const isFrame = box => ["repeat", "sequence", "stage", "net"].includes(box.kind);
  const opens = id => boxes[id].kids.length > 0 || boxes[id].each !== null;
  const bodyState = id => boxes[id].kids.length ? 1 : 2;

  function openTo(depth) {
    states.clear();
    (function visit(id, left) {
      const box = boxes[id];
      if (!box.kids.length || !(isFrame(box) || left > 0)) return;
      states.set(id, 1);
      for (const kid of box.kids) visit(kid, left - (box.kind === "block" ? 1 : 0));
    })(0, depth);
  }

  // ---- drawing

  function make(name, attributes, parent) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  }

  function render(anchor) {
    const before = new Map(shown.map(item => [item.id, item])), held = before.get(anchor);
    placed = place(0, id => states.get(id) || 0, right);
    shown = [];
    const wires = document.createElementNS(SVG, "g");
    world.replaceChildren();
    world.append(wires);
    groups.clear();
    inside(placed, 0, 0, 0);
    const now = shown.find(item => item.id === anchor);
    if (held && now) {  // what was clicked stays where it is
      view.x += (held.x - now.x) * view.scale;
      view.y += (held.y - now.y) * view.scale;
      glide(before, held.x - now.x, held.y - now.y);
    }
    mark();
    show();
    if (!groups.has(focused)) focused = shown.length ? shown[0].id : 0;
    roving();
  }

  function inside(outer, x, y, level) {
    for (const kid of outer.kids) if (kid.kids.length) draw(kid, x + kid.x, y + kid.y, level + 1);
    for (const route of outer.routes) wire(route, x, y);
    for (const kid of outer.kids) if (!kid.kids.length) draw(kid, x + kid.x, y + kid.y, level + 1);
  }

  function draw(item, x, y, level) {
    const box = boxes[item.id], open = item.kids.length > 0, kind = open && isFrame(box) ? "frame" : box.kind;
    const group = make("g", {
      class: `box ${kind}${open ? " open" : ""}${box.training ? " training" : ""}${opens(item.id) ? " opens" : ""}`,
      transform: `translate(${x} ${y})`, tabindex: -1, role: opens(item.id) ? "button" : "img",
      "aria-label": [box.title, mark2(box), box.note, box.shape].filter(Boolean).join(" "), "data-id": item.id,
    }, world);
    if (opens(item.id)) group.setAttribute("aria-expanded", open);
    const size = { width: item.width, height: item.height, rx: box.kind === "terminal" ? 14 : 6 };
    if (box.count > 1 && !open) for (const by of [6, 3]) make("rect", { ...size, x: by, y: by }, group);
    make("rect", size, group);
    if (open) header(group, item, box); else lines(group, item, box);
    groups.set(item.id, group);
    shown.push({ id: item.id, x, y, width: item.width, height: item.height, level });
    shown[shown.length - 1].order = shown.length;
    if (open) inside(item, x, y, level);
  }

  const mark2 = box => box.count > 1 ? `x ${box.count}` : "";

  function text(parent, words, x, y, kind, anchor) {
    const element = make("text", { x, y, class: kind, "text-anchor": anchor }, parent);
    element.textContent = words;
    return element;
  }

  function title(group, box, x, y, anchor) {
    const element = text(group, box.title, x, y, "title", anchor);
    if (box.count < 2) return;
    const times = make("tspan", { class: "times", dx: box.title ? 7 : 0 }, element);
    times.textContent = mark2(box);
    if (box.each !== null) times.setAttribute("data-each", "");
  }

  function lines(group, item, box) {
    title(group, box, item.width / 2, 18, "middle");
    text(group, [box.note, box.shape].filter(Boolean).join(" · "), item.width / 2, 34, "note", "middle");
    if (box.carry) text(group, box.carry, item.width / 2, 49, "note", "middle");
  }

  function header(group, item, box) {
    const base = constants.HEAD - 7, pad = constants.PAD;
    title(group, box, pad, base, "start");
    text(group, [box.carry, box.note, box.shape].filter(Boolean).join(" · "), item.width - pad, base, "note", "end");
  }

  function wire(route, x, y) {
    const points = route.points.map(([a, b]) => [a + x, b + y]);
    const pieces = points.slice(1).map(([bx, by], i) => {
      const [ax, ay] = points[i], mx = (ax + bx) / 2, my = (ay + by) / 2;
      return right ? `C${mx} ${ay} ${mx} ${by} ${bx} ${by}` : `C${ax} ${my} ${bx} ${my} ${bx} ${by}`;
    });
    const kind = route.earlier ? " earlier" : route.faint ? " training" : "";
    make("path", { class: "wire" + kind, d: `M${points[0].join(" ")}${pieces.join("")}` }, world);
    if (!route.arrow) return;
    const [tx, ty] = points[points.length - 1];
    make("path", { class: "tip", d: `M${tx} ${ty}${right ? "l-7 -4v8z" : "l-4 -7h8z"}` }, world);
  }

  function glide(before, dx, dy) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches || shown.length > 600;
    if (calm) return;
    for (const item of shown) {
      const old = before.get(item.id), group = groups.get(item.id);
      if (!old) { group.animate([{ opacity: 0 }, { opacity: 1 }], 220); continue; }
      const from = [old.x - dx - item.x, old.y - dy - item.y];
      if (Math.hypot(...from) < 1) continue;
      const at = `translate(${item.x}px, ${item.y}px)`;
      group.animate([{ transform: `translate(${item.x + from[0]}px, ${item.y + from[1]}px)` }, { transform: at }],
        { duration: 220, easing: "ease-out" });
    }
    for (const path of world.querySelectorAll(".wire, .tip")) path.animate([{ opacity: 0 }, { opacity: 1 }], 300);
  }

  // ---- opening and closing

  function toggle(id, drawnOut) {
    if (!opens(id)) return;
    const now = states.get(id) || 0, each = boxes[id].each;
    if (drawnOut && each !== null) states.set(id, now === 2 ? 0 : 2);
    else states.set(id, now ? 0 : bodyState(id));
    render(id);
    focus(id);
  }

  function reveal(id) {
    for (let at = parents.get(id); at !== undefined; at = parents.get(at)) {
      if (at === 0) { states.set(0, 1); continue; }
      const owner = parents.get(at);
      if (owner !== undefined && boxes[owner].each === at) { states.set(owner, 2); at = owner; continue; }
      if (!states.get(at)) states.set(at, 1);
    }
  }

  // ---- the view

  function show() {
    world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
  }

  function zoom(factor, x, y) {
    const scale = Math.min(4, Math.max(0.03, view.scale * factor)), by = scale / view.scale;
    view = { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
    show();
  }

  const middle = () => { const r = svg.getBoundingClientRect(); return [r.width / 2, r.height / 2]; };

  function fit() {
    const { width, height } = svg.getBoundingClientRect();
    const whole = Math.min((width - 32) / placed.width, (height - 32) / placed.height);
    const scale = Math.min(1, Math.max(whole, Math.min(0.8, (right ? height : width) / (right ? placed.height : placed.width))));
    const [w, h] = [placed.width * scale, placed.height * scale];
    view = { scale, x: w < width ? (width - w) / 2 : 16, y: h < height ? (height - h) / 2 : 16 };
    show();
  }

  function centre(id) {
    const item = shown.find(one => one.id === id), { width, height } = svg.getBoundingClientRect();
    if (!item) return;
    view.x = width / 2 - (item.x + item.width / 2) * view.scale;
    view.y = height / 2 - (item.y + Math.min(item.height, 80) / 2) * view.scale;
    show();
  }

  function keepInSight(id) {
    const item = shown.find(one => one.id === id), { width, height } = svg.getBoundingClientRect();
    if (!item) return;
    const x = item.x * view.scale + view.x, y = item.y * view.scale + view.y;
    if (x < 0 || y < 0 || x > width - 60 || y > height - 60) centre(id);
  }

  // ---- what the pointer or the keyboard is on

  function tell(id, x, y) {
    const box = boxes[id], rows = [];
    const cost = `${box.params.toLocaleString("en")} parameters, ${box.macs.toLocaleString("en")} MACs`;
    rows.push(["name", named(box)], ["op", box.ops.join(" + ")]);
    rows.push(["shape", `${box.takes.length ? box.takes.join(", ") + " → " : ""}${box.shape}`]);
    rows.push(["arrays", box.arrays.join(", ")], ["cost", box.count > 1 ? `${cost}, ${box.count} together` : cost]);
    rows.push(["in turn", box.carry], ["source", box.place], ["", box.line]);
    const list = document.createElement("dl");
    for (const [head, body] of rows.filter(row => row[1])) {
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = head;
      value.textContent = body;
      if (!head) value.className = "line";
      list.append(term, value);
    }
    const heading = document.createElement("b");
    heading.textContent = [box.title, mark2(box)].filter(Boolean).join(" ") + (box.training ? " (in training only)" : "");
    tip.replaceChildren(heading, list);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 16, innerWidth - width - 8))}px`;
    tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
  }

  function named(box) {
    const names = box.kids.length || !box.names.length ? [box.path] : box.names;
    return names.slice(0, 6).join(", ") + (names.length > 6 ? ` and ${names.length - 6} more` : "");
  }

  const boxOf = target => { const group = target.closest && target.closest("g.box"); return group && Number(group.dataset.id); };

  function focus(id) {
    focused = id;
    roving();
    const group = groups.get(id);
    if (group) group.focus({ preventScroll: true });
    keepInSight(id);
  }

  function roving() {
    for (const [id, group] of groups) group.setAttribute("tabindex", id === focused ? 0 : -1);
  }

  function step(by) {
    const order = [...shown].sort((a, b) => right ? a.x - b.x || a.y - b.y : a.y - b.y || a.x - b.x);
    const at = order.findIndex(item => item.id === focused), next = order[Math.max(0, Math.min(order.length - 1, at + by))];
    if (next) focus(next.id);
  }

  function key(event) {
    if (event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
    const up = parents.get(focused), open = states.get(focused);
    const actions = {
      Enter: () => toggle(focused, false), " ": () => toggle(focused, false), x: () => toggle(focused, true),
      ArrowDown: () => step(1), ArrowUp: () => step(-1),
      ArrowRight: () => open ? step(1) : toggle(focused, false),
      ArrowLeft: () => open ? toggle(focused, false) : up > 0 && groups.has(up) && focus(up),
      Home: () => step(-Infinity), End: () => step(Infinity), Escape: () => { tip.hidden = true; },
      "+": () => zoom(1.25, ...middle()), "=": () => zoom(1.25, ...middle()), "-": () => zoom(0.8, ...middle()),
      0: fit, "/": () => search.focus(),
    };
    if (!Object.hasOwn(actions, event.key) || event.target.closest("button") && "Enter ".includes(event.key)) return;
    event.preventDefault();
    actions[event.key]();
    const group = groups.get(focused);
    if (event.key.startsWith("Arrow") && group) { const r = group.getBoundingClientRect(); tell(focused, r.left, r.top + 34); }
  }

  // ---- search

  function seek() {
    const words = search.value.trim().toLowerCase(), drawn = id => { for (let at = id; at !== undefined; at = parents.get(at)) {
      const owner = parents.get(at);
      if (owner !== undefined && boxes[owner].each === at) return false;
    } return true; };
    const has = box => [box.title, box.note, box.path, box.shape, ...box.names, ...box.ops].some(t => t.toLowerCase().includes(words));
    hits = words ? boxes.map((_, id) => id).filter(id => id > 0 && drawn(id) && has(boxes[id])) : [];
    hit = -1;
    count.textContent = words ? `${hits.length} found` : "";
    mark();
  }

  function mark() {
    const found = new Set(hits);
    for (const [id, group] of groups) {
      group.classList.toggle("found", found.has(id));
      group.classList.toggle("current", id === hits[hit]);
    }
  }

  function nextHit(by) {
    if (!hits.length) return;
    hit = (hit + by + hits.length) % hits.length;
    reveal(hits[hit]);
    render(hits[hit]);
    focused = hits[hit];
    roving();
    centre(hits[hit]);
    count.textContent = `${hit + 1} of ${hits.length}`;
  }

  // ---- events

  let drag = null;
  svg.addEventListener("pointerdown", event => {
    if (event.button === 0) drag = { x: event.clientX, y: event.clientY, moved: false };
  });
  addEventListener("pointermove", event => {
    if (drag && event.buttons) {
      const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      view.x += dx;
      view.y += dy;
      drag = { x: event.clientX, y: event.clientY, moved: true };
      svg.classList.add("dragged");
      tip.hidden = true;
      show();
      return;
    }
    const id = boxOf(event.target);
    if (id === null || id === undefined) tip.hidden = true; else tell(id, event.clientX, event.clientY);
  });
  addEventListener("pointerup", () => { svg.classList.remove("dragged"); });
  svg.addEventListener("click", event => {
    const id = boxOf(event.target), moved = drag && drag.moved;
    drag = null;
    if (moved || id === null || id === undefined) return;
    if (opens(id)) toggle(id, event.target.hasAttribute("data-each")); else focus(id);
  });
  svg.addEventListener("wheel", event => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY * unit / 300), event.clientX, event.clientY - svg.getBoundingClientRect().top);
    else { view.x -= (event.shiftKey ? event.deltaY : event.deltaX) * unit; view.y -= (event.shiftKey ? 0 : event.deltaY) * unit; show(); }
  }, { passive: false });
  document.addEventListener("keydown", key);
  search.addEventListener("input", seek);
  search.addEventListener("keydown", event => {
    if (event.key === "Enter") nextHit(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") { search.value = ""; seek(); svg.focus(); }
  });

  const commands = {
    fold: () => { openTo(0); render(); fit(); },
    open: () => { openTo(Infinity); render(); fit(); },
    turn: () => { right = !right; render(); fit(); },
    bigger: () => zoom(1.25, ...middle()),
    smaller: () => zoom(0.8, ...middle()),
    fit,
    theme: () => {
      const dark = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
      document.documentElement.dataset.theme = dark === "dark" ? "light" : "dark";
    },
  };
  for (const button of document.querySelectorAll("button[data-command]")) {
    button.addEventListener("click", commands[button.dataset.command]);
  }

  openTo(data.depth);
  render();
  fit();
})();
