"use strict";
// Axes and marks in SVG. Nothing here knows what is drawn.
const Chart = (() => {
  const NS = "http://www.w3.org/2000/svg";

  function el(name, attributes = {}, ...children) {
    const node = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // Steps of 1, 2 or 5 times a power of ten.
  function ticks(low, high, most) {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find(each => each * power >= rough - 1e-12 * power);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step + 0);  // no -0
    return found;
  }

  function extent(values) {
    let low = Infinity, high = -Infinity;
    for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
    if (low > high) return [0, 1];
    const pad = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
    return [low - pad, high + pad];
  }

  const linear = (low, high, from, to) => value => from + (value - low) / (high - low) * (to - from);

  // An empty plot with axes. x, y: {label, values, format}. Gives the places of values, and where to put marks.
  function axes(host, x, y, height) {
    const width = Math.max(260, host.clientWidth), left = 62, right = 14, top = 10, bottom = 44;
    const svg = el("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    const [xl, xh] = extent(x.values), [yl, yh] = extent(y.values);
    const sx = linear(xl, xh, left, width - right), sy = linear(yl, yh, height - bottom, top);
    const axis = el("g", { class: "axis" });
    for (const value of ticks(xl, xh, Math.max(2, Math.floor((width - left) / 90)))) {
      axis.append(el("line", { class: "grid", x1: sx(value), x2: sx(value), y1: top, y2: height - bottom }));
      axis.append(el("text", { x: sx(value), y: height - bottom + 16, "text-anchor": "middle" }, x.format(value)));
    }
    for (const value of ticks(yl, yh, 6)) {
      axis.append(el("line", { class: "grid", x1: left, x2: width - right, y1: sy(value), y2: sy(value) }));
      axis.append(el("text", { x: left - 7, y: sy(value) + 4, "text-anchor": "end" }, y.format(value)));
    }
    axis.append(el("text", { class: "title", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, x.label));
    axis.append(el("text", { class: "title", transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label));
    svg.append(axis);
    host.replaceChildren(svg);
    return { svg, sx, sy, left, right: width - right, top, bottom: height - bottom, x: [xl, xh], y: [yl, yh] };
  }

  // Many small dots as one path: round ends of lines without a length.
  const dots = points => el("path", { class: "others", d: points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("") });

  const line = (points, attributes) => el("path", { ...attributes, d: points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("") });

  // The nearest of some points to a place, within a reach in px.
  function nearest(points, x, y, reach) {
    let best = null, least = reach * reach;
    for (const point of points) {
      const d = (point[0] - x) ** 2 + (point[1] - y) ** 2;
      if (d < least) { least = d; best = point; }
    }
    return best;
  }

  return { axes, dots, el, line, linear, nearest };
})();
