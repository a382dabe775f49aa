"use strict";
// The twin of layout.py: coordinates of a drawing whose boxes open and close. A test compares the two.
// "Along" is the way that the network runs, "across" the other one. Constants come from layout.py.

function layoutOf(data, constants) {
  const { PAD, GAP, LAYER_GAP, HEAD, BORDER_GAP, LANE, PORT, BEND, MOST_BEND, SWEEPS } = constants;

  // The box `id`, and what is open in it. state(id): 0 closed, 1 open, 2 a repeat drawn out.
  function place(id, state, right) {
    const shown = state(id) === 2 ? data.boxes[id].each : id;
    const box = data.boxes[shown];
    const inner = box.kids.map(kid => state(kid) ? place(kid, state, right) : closed(kid, right));
    return { ...scope(box, data.plans[box.plan], inner, right), id };
  }

  function closed(id, right) {
    const box = data.boxes[id], [width, height] = box.size, across = right ? height : width;
    const exits = box.outputs < 2 ? Array(box.outputs).fill(across / 2) : spread(box.outputs, across);
    return { id, x: 0, y: 0, width, height, kids: [], routes: [], entries: spread(box.inputs, across), exits, right };
  }

  function spread(count, across) {
    const step = Math.min(PORT, across / (count + 1));
    return Array.from({ length: count }, (_, i) => across / 2 + (i - (count - 1) / 2) * step);
  }

  function scope(box, plan, inner, right) {
    const sizes = plan.above.map((_, i) => i < inner.length ? across(inner[i]) : LANE);
    let x = coordinates(plan, sizes, inner.map(ports));
    straighten(plan, sizes, x);
    const framed = box.kind !== "net", lead = framed && right ? HEAD : 0, head = framed ? box.head + 2 * PAD : 0;
    const low = least(x.map((at, i) => at - sizes[i] / 2)), high = -least(x.map((at, i) => -at - sizes[i] / 2));
    const wide = Math.max(high - low + 2 * PAD + lead, right ? 0 : head);
    x = x.map(at => at + (wide + lead - low - high) / 2);
    const { tops, bottoms } = heights(plan, inner, x, framed && !right ? HEAD : PAD);
    const end = bottoms[bottoms.length - 1] + (plan.exits.length ? 0 : BORDER_GAP);
    const long = Math.max(end, right ? head : 0);
    const rank = ranks(plan);
    inner.forEach((kid, i) => {
      const at = x[i] - across(kid) / 2, on = (tops[rank[i]] + bottoms[rank[i]] - along(kid)) / 2;
      [kid.x, kid.y] = right ? [on, at] : [at, on];
    });
    const entries = plan.entries.map(i => x[i]), exits = plan.exits.map(i => x[i]);
    const covered = entries.some(at => !(PAD + box.label + 4 <= at && at <= wide - PAD - box.note_width - 4));
    const start = framed && !right && covered ? HEAD : 0;
    const routes = routesOf(box, plan, inner, x, { rank, tops, bottoms, start, long, right });
    const [width, height] = right ? [long, wide] : [wide, long];
    return { x: 0, y: 0, width, height, kids: inner, routes, entries, exits, right };
  }

  function heights(plan, inner, x, top) {
    const tops = [], bottoms = [], bare = layer => layer.every(i => i >= inner.length);
    plan.layers.forEach((layer, at) => {
      const below = plan.layers[at + 1];
      tops.push(top);
      bottoms.push(top + most(layer.filter(i => i < inner.length).map(i => along(inner[i]))));
      const flat = bare(layer) || (below !== undefined && bare(below));
      const moves = layer.flatMap(i => plan.below[i].map(([other]) => Math.abs(x[i] - x[other])));
      top = bottoms[at] + (flat ? BORDER_GAP : LAYER_GAP) + Math.min(MOST_BEND, BEND * most(moves));
    });
    return { tops, bottoms };
  }

  function routesOf(box, plan, inner, x, frame) {
    const lands = landings(box, plan, inner, x);
    return box.wires.map((wire, w) => {
      const chain = plan.wires[w], source = inner[chain[0]], target = inner[chain[chain.length - 1]];
      const begin = source ? [left(source) + source.exits[wire[1]], far(source)] : [x[chain[0]], frame.start];
      const xs = [begin[0], ...chain.slice(1, -1).map(i => x[i]), lands[w]], at = chain.map(i => frame.rank[i]);
      const points = [begin, [xs[0], frame.bottoms[at[0]]]];
      for (let i = 1; i < chain.length - 1; i++) points.push([xs[i], frame.tops[at[i]]], [xs[i], frame.bottoms[at[i]]]);
      points.push([lands[w], frame.tops[at[at.length - 1]]]);
      points.push(target ? [lands[w], near(target)] : [x[chain[chain.length - 1]], frame.long]);
      const kept = points.filter((p, i) => !i || apart(p, points[i - 1]));
      const ends = [source, target].filter(end => end).map(end => data.boxes[end.id]);
      const from = source && data.boxes[source.id];
      return {
        points: frame.right ? kept.map(([a, b]) => [b, a]) : kept,
        arrow: Boolean(target) && !target.kids.length,
        faint: ends.some(end => end.training && !box.training),
        earlier: Boolean(source) && wire[1] >= from.outputs - from.earlier,
      };
    });
  }

  function landings(box, plan, inner, x) {
    const found = plan.wires.map(chain => x[chain[chain.length - 1]]), arriving = new Map();
    plan.wires.forEach((chain, w) => {
      const end = chain[chain.length - 1];
      if (end < inner.length) arriving.set(end, [...(arriving.get(end) || []), w]);
    });
    const leaves = w => {
      const item = plan.wires[w][plan.wires[w].length - 2];
      return item >= inner.length ? x[item] : left(inner[item]) + inner[item].exits[box.wires[w][1]];
    };
    for (const [end, wires] of arriving) {
      const target = inner[end];
      if (target.kids.length) {
        for (const w of wires) found[w] = left(target) + target.entries[box.wires[w][3]];
        continue;
      }
      wires.sort((a, b) => leaves(a) - leaves(b));
      const weights = wires.map(w => plan.wires[w][plan.wires[w].length - 2] >= inner.length ? 0.02 : 1);
      const places = alongSide(left(target), across(target), wires.map(leaves), weights);
      wires.forEach((w, i) => { found[w] = places[i]; });
    }
    return found;
  }

  function alongSide(from, width, xs, weights) {
    const step = Math.min(PORT, width / (xs.length + 1)), margin = Math.min(step, 14), rest = xs.length - 1;
    const low = from + margin, high = from + width - margin;
    const held = spaced(xs.map(at => Math.min(Math.max(at, low), high)), weights, Array(rest).fill(step));
    return held.map((at, i) => Math.min(Math.max(at, low + i * step), high - (rest - i) * step));
  }

  function ports(placed) {
    if (!placed.kids.length) return [[], []];
    const middle = across(placed) / 2;
    return [placed.entries.map(at => at - middle), placed.exits.map(at => at - middle)];
  }

  function coordinates(plan, sizes, offsets) {
    const x = sizes.map(() => 0);
    const offset = (item, port, side) => item < offsets.length && offsets[item][side].length ? offsets[item][side][port] : 0;
    const pulls = (bonds, side) => bonds.map((near, item) => near.map(([other, weight, mine, theirs]) =>
      [other, weight, offset(other, theirs, 1 - side) - offset(item, mine, side)]));
    const above = pulls(plan.above, 0), below = pulls(plan.below, 1);
    for (const layer of plan.layers) settle(plan, layer, sizes, x, layer.map(() => 0));
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      for (const layer of plan.layers.slice(1)) pull(plan, layer, sizes, x, above);
      for (const layer of plan.layers.slice(0, -1).reverse()) pull(plan, layer, sizes, x, below);
    }
    for (const layer of plan.layers.slice(1)) pull(plan, layer, sizes, x, above);
    return x;
  }

  function pull(plan, layer, sizes, x, near) {
    settle(plan, layer, sizes, x, layer.map(item => {
      const total = near[item].reduce((sum, [, weight]) => sum + weight, 0);
      const places = near[item].reduce((sum, [other, weight, beside]) => sum + (x[other] + beside) * weight, 0);
      return total ? places / total : x[item];
    }));
  }

  function settle(plan, layer, sizes, x, wanted) {
    const distances = layer.slice(1).map((item, i) => distance(plan, sizes, layer[i], item));
    const places = spaced(wanted, layer.map(item => plan.weights[item]), distances);
    layer.forEach((item, i) => { x[item] = places[i]; });
  }

  function distance(plan, sizes, a, b) {
    return (sizes[a] + sizes[b]) / 2 + (a >= plan.boxes && b >= plan.boxes ? LANE : GAP);
  }

  function spaced(wanted, weights, distances) {
    const offsets = [0], pools = [];
    for (const gap of distances) offsets.push(offsets[offsets.length - 1] + gap);
    wanted.forEach((at, i) => {
      let mean = at - offsets[i], mass = weights[i], size = 1;
      while (pools.length && pools[pools.length - 1][0] > mean) {
        const [before, heavier, more] = pools.pop();
        mean = (before * heavier + mean * mass) / (heavier + mass);
        mass += heavier;
        size += more;
      }
      pools.push([mean, mass, size]);
    });
    return pools.flatMap(([mean, , size]) => Array(size).fill(mean)).map((mean, i) => mean + offsets[i]);
  }

  function straighten(plan, sizes, x) {
    const beside = [];
    for (const layer of plan.layers) layer.forEach((item, i) => { beside[item] = [layer[i - 1], layer[i + 1]]; });
    for (const trunk of plan.trunks) {
      const columns = [...new Set(trunk.map(item => x[item]))].sort((a, b) => Math.abs(b) - Math.abs(a) || a - b);
      for (const at of [columns[0], columns[columns.length - 1]]) {
        if (!trunk.every(item => fits(plan, sizes, x, item, at, beside[item]))) continue;
        for (const item of trunk) x[item] = at;
        break;
      }
    }
  }

  function fits(plan, sizes, x, item, at, [before, after]) {
    return (before === undefined || at - x[before] >= distance(plan, sizes, before, item) - 0.01) &&
      (after === undefined || x[after] - at >= distance(plan, sizes, item, after) - 0.01);
  }

  function ranks(plan) {
    const rank = [];
    plan.layers.forEach((layer, at) => { for (const item of layer) rank[item] = at; });
    return rank;
  }

  const apart = (a, b) => Math.abs(a[0] - b[0]) > 0.01 || Math.abs(a[1] - b[1]) > 0.01;
  const across = placed => placed.right ? placed.height : placed.width;
  const along = placed => placed.right ? placed.width : placed.height;
  const left = placed => placed.right ? placed.y : placed.x;
  const near = placed => placed.right ? placed.x : placed.y;
  const far = placed => near(placed) + along(placed);
  const least = values => values.reduce((a, b) => Math.min(a, b), Infinity);
  const most = values => values.reduce((a, b) => Math.max(a, b), 0);

  return place;
}
