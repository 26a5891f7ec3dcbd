"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const video = $("video"), canvas = $("canvas"), pen = canvas.getContext("2d");
  const half = Math.floor(data.every_ms / 2);
  const hidden = new Set(), off = new Set();
  let threshold = data.threshold, span = data.duration_ms, zoom = 1, lists = [], people = [], taken = [];

  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const clock = (ms) => {
    const tenths = Math.max(0, Math.round(ms / 100)), s = Math.floor(tenths / 10);
    return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}.${tenths % 10}`;
  };
  const personName = (tube) => tube.name || (tube.id < 0 ? "Unknown" : `Person ${tube.id}`);

  const endOf = (last, step = data.every_ms) => {
    const film = data.start_ms + data.duration_ms;
    return last + step < film ? last + step - Math.floor(step / 2) : Math.max(film, last + 1);
  };
  // The same rules as tubelet.render.timeline, so that the slider and the CSV agree.
  const segmentsOf = (tube) => {
    const found = [], low = data.release * threshold, times = tube.times;
    for (const [column, scores] of tube.scores) {
      if (off.has(column)) continue;
      let start = -1;
      const close = (end) => {
        if (start < 0) return;
        const run = scores.slice(start, end), peak = Math.max(...run);
        const from = Math.max(times[start] - half, Math.min(times[start], 0));
        const to = endOf(times[end - 1]);
        if (peak >= threshold && to - from >= data.least_ms) {
          found.push({
            column, peak, start: from, end: to,
            score: run.reduce((a, b) => a + b, 0) / run.length,
          });
        }
        start = -1;
      };
      scores.forEach((score, i) => {
        if (i && (score < low || times[i] - times[i - 1] > data.max_gap * data.every_ms)) close(i);
        if (start < 0 && score >= low) start = i;
      });
      close(scores.length);
    }
    return found.sort((a, b) => a.start - b.start || a.column - b.column);
  };
  // Where a person was seen: on keyframes, or, where people were tracked between them, on more.
  const seenOf = (tube) => (tube.path.times.length ? tube.path : tube);
  const stepOf = ({ path: { times } }) => {
    const steps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
    if (!steps.length) return data.every_ms;
    const middle = steps.length >> 1;
    const usual = steps.length % 2 ? steps[middle] : (steps[middle - 1] + steps[middle]) / 2;
    return Math.min(data.every_ms, Math.max(1, Math.floor(usual)));
  };
  const lives = new WeakMap();
  const lifeOf = (tube) => {
    if (!lives.has(tube)) {
      const { times } = seenOf(tube), step = stepOf(tube);
      const start = Math.max(times[0] - Math.floor(step / 2), Math.min(times[0], 0));
      lives.set(tube, [start, endOf(times[times.length - 1], step)]);
    }
    return lives.get(tube);
  };
  // Index of the last keyframe at or before ms, 0 where there is none.
  const before = (times, ms) => {
    let low = 0, high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= ms) low = middle; else high = middle - 1;
    }
    return low;
  };
  const boxAt = (tube, ms) => {
    const [from, to] = lifeOf(tube);
    if (ms < from || ms >= to) return null;
    const { times, boxes } = seenOf(tube), i = before(times, ms), j = Math.min(i + 1, times.length - 1);
    const gap = times[j] - times[i];
    if (times === tube.path.times && gap > data.max_gap * data.every_ms && ms > times[i]) return null;
    const share = gap ? Math.min(1, Math.max(0, (ms - times[i]) / gap)) : 0;
    return boxes[i].map((side, k) => side + (boxes[j][k] - side) * share);
  };
  const actionsAt = (index, ms) => {
    const { times, scores } = data.tubes[index];
    let i = before(times, ms);
    if (i + 1 < times.length && times[i + 1] - ms < ms - times[i]) i += 1;
    const score = new Map(scores.map(([column, values]) => [column, values[i]]));
    return lists[index]
      .filter((s) => s.start <= ms && ms < s.end)
      .map((s) => ({ name: data.labels[s.column], score: score.get(s.column) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, 3);
  };
  const now = () => video.currentTime * 1000 + data.start_ms;
  const seek = (ms) => {
    const end = video.duration || span / 1000;
    video.currentTime = Math.min(Math.max((ms - data.start_ms) / 1000, 0), Math.max(end - 0.001, 0));
  };

  // ---- picture
  const fit = () => {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    return ratio;
  };
  // Beside the box where no other label lies; else the name alone; else nothing.
  const placed = (taken, [x1, y1, x2, y2], width, height) => {
    const xs = [x1, x2 - width, x2, x1 - width], ys = [y1 - height, y2, y1, y2 - height];
    for (const [i, j] of [[0, 0], [1, 0], [0, 1], [1, 1], [2, 2], [3, 2], [2, 3], [3, 3], [0, 2]]) {
      const left = Math.max(0, Math.min(xs[i], canvas.width - width));
      const top = Math.max(0, Math.min(ys[j], canvas.height - height));
      if (taken.every((t) => left >= t.right || left + width <= t.left
        || top >= t.bottom || top + height <= t.top)) {
        taken.push({ left, top, right: left + width, bottom: top + height });
        return [left, top];
      }
    }
    return null;
  };
  const drawLabel = (tube, rows, box, ratio, taken) => {
    const size = 13 * ratio, pad = 6 * ratio, high = 20 * ratio;
    pen.font = `700 ${size}px system-ui, sans-serif`;
    const badge = tube.name || (tube.id < 0 ? "?" : String(tube.id));
    const side = pen.measureText(badge).width + 2 * pad;
    pen.font = `500 ${size}px system-ui, sans-serif`;
    const body = rows.reduce(
      (w, r) => Math.max(w, pen.measureText(`${r.name}  ${r.score.toFixed(2)}`).width), 0);
    const width = side + (rows.length ? body + 2 * pad : 0), height = high * Math.max(rows.length, 1);
    const place = placed(taken, box, width, height);
    if (!place) {
      if (rows.length) drawLabel(tube, rows.length > 1 ? rows.slice(0, 1) : [], box, ratio, taken);
      return;
    }
    const [left, top] = place;
    pen.fillStyle = "#11141ad0";
    pen.fillRect(left, top, width, height);
    pen.fillStyle = tube.colour;
    pen.fillRect(left, top, side, height);
    rows.forEach((r, i) => {
      pen.globalAlpha = 0.34;
      pen.fillRect(left + side, top + i * high, (width - side) * r.score, high);
      pen.globalAlpha = 1;
    });
    pen.textBaseline = "middle";
    pen.fillStyle = "#fff";
    rows.forEach((r, i) => {
      pen.textAlign = "left";
      pen.fillText(r.name, left + side + pad, top + (i + 0.54) * high);
      pen.textAlign = "right";
      pen.fillText(r.score.toFixed(2), left + width - pad, top + (i + 0.54) * high);
    });
    pen.font = `700 ${size}px system-ui, sans-serif`;
    pen.textAlign = "left";
    pen.fillStyle = tube.ink;
    pen.fillText(badge, left + pad, top + 0.54 * high);
  };
  const draw = (moment = now()) => {
    // A player stops at the film's end, where nobody is any more.
    const ms = Math.min(moment, data.start_ms + data.duration_ms - 1);
    const ratio = fit(), { width, height } = canvas, shown = [];
    pen.clearRect(0, 0, width, height);
    data.tubes.forEach((tube, index) => {
      const box = boxAt(tube, ms), person = people[index];
      const rows = box ? actionsAt(index, ms) : [];
      person.update(Boolean(box), rows);
      if (!box || hidden.has(index)) return;
      const [x1, y1, x2, y2] = box.map((v, k) => Math.round(v * (k % 2 ? height : width)));
      for (const [colour, line] of [["#11141a73", 4.5], [tube.colour, 2.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = line * ratio;
        pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
      }
      shown.push([tube, rows, [x1 - 1, y1, x2 + 1, y2]]);
    });
    const area = ([, , [x1, y1, x2, y2]]) => (x2 - x1) * (y2 - y1);
    shown.sort((a, b) => area(b) - area(a));
    taken = [];
    if ($("labels").checked) shown.forEach((label) => drawLabel(...label, ratio, taken));
    $("clock").textContent = `${clock(ms - data.start_ms)} / ${clock(span)}`;
    head.style.left = `${((ms - data.start_ms) / span) * 100}%`;
  };

  // ---- people
  const personOf = (tube, index) => {
    const button = make("button", "person"), name = make("span", "name"), acts = make("span");
    const [from, to] = lifeOf(tube);
    const when = `${clock(from - data.start_ms)} – ${clock(Math.min(to - data.start_ms, span))}`;
    name.append(make("span", "dot"), personName(tube), make("span", "when", when));
    button.append(name, acts);
    button.style.setProperty("--hue", tube.colour);
    button.setAttribute("aria-pressed", "true");
    button.title = "Show or hide this person's box";
    button.onclick = () => {
      if (!hidden.delete(index)) hidden.add(index);
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      $("tracks").querySelectorAll(".lane")[index].classList.toggle("hidden", hidden.has(index));
      draw();
    };
    $("people").append(button);
    let state = "";
    const update = (here, rows) => {
      const next = JSON.stringify([here, rows]);
      if (next === state) return;
      state = next;
      button.classList.toggle("here", here);
      acts.replaceChildren(...rows.map((r) => {
        const row = make("span", "act");
        row.style.setProperty("--score", r.score);
        row.append(make("span", "", r.name), make("span", "", r.score.toFixed(2)));
        return row;
      }));
    };
    return { update };
  };
  const listPeople = () => {
    $("people").replaceChildren();
    hidden.clear();
    people = data.tubes.map(personOf);
    const known = new Set(data.tubes.filter((t) => t.id >= 0).map((t) => t.id)).size;
    $("how-many").textContent = known ? String(known) : "";
    const choices = () => data.tubes.map((tube, index) => [tube, index]).filter(([t]) => t.id >= 0)
      .map(([tube, index]) => {
        const option = make("option", "", personName(tube));
        option.value = index;
        return option;
      });
    for (const id of ["who", "same"]) $(id).replaceChildren(...choices());
    $("correct").hidden = !known;
  };

  // ---- identities: the same rules as tubelet.render.identities
  const original = data.tubes;
  const merged = (first, second) => {
    const points = ({ path, times, boxes }) => (path.times.length ? path : { times, boxes });
    const kept = new Map(), both = [first, second];
    both.forEach((tube) => tube.times.forEach((ms, i) => {
      const other = kept.get(ms);
      if (!other || tube.sure[i] > other.tube.sure[other.i]) kept.set(ms, { tube, i });
    }));
    const times = [...kept.keys()].sort((a, b) => a - b), from = times.map((ms) => kept.get(ms));
    const columns = [...new Set(both.flatMap((t) => t.scores.map(([column]) => column)))];
    const of = new Map(both.map((tube) => [tube, new Map(tube.scores)]));
    const boxes = from.map(({ tube, i }) => tube.boxes[i]);
    let path = { times: [], boxes: [] };
    if (both.some((tube) => tube.path.times.length)) {
      const seen = new Map();
      for (const tube of [second, first]) {
        const own = points(tube);
        own.times.forEach((ms, i) => seen.set(ms, own.boxes[i]));
      }
      times.forEach((ms, i) => seen.set(ms, boxes[i]));
      const moments = [...seen.keys()].sort((a, b) => a - b);
      path = { times: moments, boxes: moments.map((ms) => seen.get(ms)) };
    }
    return {
      ...first, times, boxes, path, sure: from.map(({ tube, i }) => tube.sure[i]),
      ids: [...new Set([...first.ids, ...second.ids])],
      scores: columns.sort((a, b) => a - b).map((column) => [column,
        from.map(({ tube, i }) => (of.get(tube).get(column) || [])[i] || 0)]),
    };
  };
  const restart = () => { data.tubes = original.map((tube) => ({ ...tube, ids: [tube.id] })); };
  const show = () => { listPeople(); build(); };
  const chosen = () => Number($("who").value);
  $("who").onchange = () => { $("called").value = data.tubes[chosen()].name; };
  $("called").onchange = () => {
    const index = chosen();
    data.tubes[index].name = $("called").value.trim();
    show();
    $("who").value = index;
  };
  $("merge").onclick = () => {
    const index = chosen(), other = Number($("same").value);
    if (index === other) return;
    const one = merged(data.tubes[index], data.tubes[other]);
    one.name = one.name || data.tubes[other].name;
    data.tubes = data.tubes.map((t, i) => (i === index ? one : t)).filter((_, i) => i !== other);
    show();
    $("who").value = data.tubes.indexOf(one);
    $("called").value = one.name;
  };
  $("undo").onclick = () => { restart(); show(); $("called").value = ""; };
  const corrections = () => ({
    format: "tubelet.identities", version: 1, video: data.film,
    people: data.tubes.filter((t) => t.id >= 0 && (t.ids.length > 1 || t.name))
      .map((t) => ({ track_ids: t.ids, name: t.name })),
  });
  $("save").onclick = () => {
    const link = make("a"), text = JSON.stringify(corrections(), null, 1);
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "identities.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  if (!data.tubes.length) $("people").append(make("p", "soft", "Nobody was found in this film."));

  // ---- timeline
  const head = make("div", "head");
  const percent = (ms) => `${((ms - data.start_ms) / span) * 100}%`;
  const ruler = () => {
    const strip = make("div", "ruler"), steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
    const wanted = (span / 1000) / Math.max(2, ($("scroller").clientWidth * zoom) / 90);
    const step = steps.find((s) => s >= wanted) || 1800;
    for (let s = 0; s * 1000 < span; s += step) {
      const text = step < 1 ? clock(s * 1000) : clock(s * 1000).slice(0, -2);
      const tick = make("span", "", text);
      tick.style.left = `${(s * 1000 / span) * 100}%`;
      strip.append(tick);
    }
    return strip;
  };
  const place = (element, start, end) => {
    const from = Math.max(start, data.start_ms), to = Math.min(end, data.start_ms + span);
    element.style.left = percent(from);
    element.style.width = `${Math.max(((to - from) / span) * 100, 0)}%`;
  };
  const barOf = (tube, part, row) => {
    const bar = make("button", "bar", data.labels[part.column]);
    place(bar, part.start, part.end);
    bar.style.top = `${6 + row * 23}px`;
    bar.style.setProperty("--hue", tube.colour);
    bar.style.setProperty("--strength", `${Math.round(25 + 75 * part.score)}%`);
    bar.classList.toggle("faint", part.score < 0.6);
    const from = clock(part.start - data.start_ms), to = clock(part.end - data.start_ms);
    const lines = [`${personName(tube)}, ${from} – ${to}`,
      `score ${part.score.toFixed(2)}, peak ${part.peak.toFixed(2)}`];
    bar.setAttribute("aria-label", `${data.labels[part.column]}: ${lines.join(", ")}`);
    bar.onclick = (event) => { event.stopPropagation(); seek(part.start); };
    bar.onpointermove = (event) => showTip(event, data.labels[part.column], lines);
    bar.onpointerleave = () => { $("tip").hidden = true; };
    return bar;
  };
  const showTip = (event, title, lines) => {
    const tip = $("tip");
    tip.replaceChildren(make("b", "", title), ...lines.map((line) => make("div", "", line)));
    tip.hidden = false;
    tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.max(event.clientY - tip.offsetHeight - 12, 8)}px`;
  };
  const build = () => {
    lists = data.tubes.map(segmentsOf);
    const names = [make("div", "corner")], lanes = [ruler()];
    data.tubes.forEach((tube, index) => {
      const lane = make("div", hidden.has(index) ? "lane hidden" : "lane"), ends = [];
      const life = make("div", "life");
      place(life, ...lifeOf(tube));
      lane.append(life);
      for (const part of lists[index]) {
        let row = ends.findIndex((end) => end <= part.start);
        if (row < 0) row = ends.length;
        ends[row] = part.end;
        lane.append(barOf(tube, part, row));
      }
      const name = make("div");
      name.append(make("span", "dot"), personName(tube));
      for (const element of [name, lane]) {
        element.style.setProperty("--hue", tube.colour);
        element.style.setProperty("--height", `${12 + 23 * Math.max(ends.length, 1)}px`);
      }
      names.push(name);
      lanes.push(lane);
    });
    $("names").replaceChildren(...names);
    $("tracks").replaceChildren(...lanes, head);
    $("tracks").style.setProperty("--zoom", zoom);
    const bars = lists.reduce((n, list) => n + list.length, 0);
    $("count").textContent = `${bars} ${bars === 1 ? "action" : "actions"} at this threshold`;
    $("threshold-shown").textContent = threshold.toFixed(2);
    draw();
  };
  const scrub = (event) => {
    const box = $("tracks").getBoundingClientRect();
    seek(data.start_ms + ((event.clientX - box.left) / box.width) * span);
  };
  $("tracks").onclick = scrub;
  $("tracks").onpointermove = (event) => {
    if (event.buttons === 1 && !event.target.closest(".bar")) scrub(event);
  };
  const zoomBy = (factor) => {
    zoom = Math.min(Math.max(zoom * factor, 1), 64);
    build();
    const scroller = $("scroller"), at = head.offsetLeft - scroller.clientWidth / 2;
    scroller.scrollLeft = Math.max(0, at);
  };
  $("zoom-in").onclick = () => zoomBy(2);
  $("zoom-out").onclick = () => zoomBy(0.5);

  // ---- controls
  const toggle = () => { if (video.paused) video.play(); else video.pause(); };
  $("play").onclick = toggle;
  video.onclick = toggle;
  video.onplay = video.onpause = () => $("play").classList.toggle("playing", !video.paused);
  $("threshold").oninput = (event) => { threshold = Number(event.target.value); build(); };
  $("labels").onchange = () => draw();
  $("speed").onchange = (event) => { video.playbackRate = Number(event.target.value); };
  document.onkeydown = (event) => {
    if (event.target.closest("input, select") || event.ctrlKey || event.metaKey) return;
    const frame = 1000 / data.fps;
    const moves = { ArrowLeft: -1000, ArrowRight: 1000, ",": -frame, ".": frame };
    if (event.key === " ") {
      if (event.target.closest("button")) event.target.blur();
      event.preventDefault();
      toggle();
    } else if (event.key in moves) {
      event.preventDefault();
      seek(now() + moves[event.key]);
    }
  };

  // ---- classes
  const boxes = new Map(data.labels.map((name, column) => {
    const label = make("label"), box = make("input");
    box.type = "checkbox";
    box.checked = true;
    box.onchange = () => {
      if (box.checked) off.delete(column); else off.add(column);
      build();
    };
    label.append(box, make("span", "", name));
    label.title = name;
    if (original.some((t) => t.scores.some(([c]) => c === column))) $("classes").append(label);
    return [column, box];
  }));
  const setAll = (on) => {
    for (const [column, box] of boxes) {
      box.checked = on;
      if (on) off.delete(column); else off.add(column);
    }
    build();
  };
  $("all").onclick = () => setAll(true);
  $("none").onclick = () => setAll(false);
  $("filter").hidden = !data.labels.length;

  // ---- film
  video.onloadedmetadata = () => {
    $("stage").style.setProperty("--aspect", video.videoWidth / video.videoHeight);
    if (Number.isFinite(video.duration)) span = Math.max(video.duration * 1000, 1);
    build();
  };
  video.onerror = () => {
    $("stage").hidden = true;
    $("broken").hidden = false;
    $("broken").textContent = video.currentSrc.startsWith("blob:")
      ? "This browser cannot play the film."
      : "The film does not lie beside this page any more, or this browser cannot play it.";
  };
  if (video.requestVideoFrameCallback) {
    const onFrame = (_, frame) => {
      draw(frame.mediaTime * 1000 + data.start_ms);
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  } else {
    const onTick = () => { draw(); if (!video.paused) requestAnimationFrame(onTick); };
    video.addEventListener("play", onTick);
  }
  video.onseeked = () => draw();
  new ResizeObserver(() => draw()).observe($("stage"));
  const film = $("film");
  if (film) {
    const bytes = Uint8Array.from(atob(film.textContent), (c) => c.charCodeAt(0));
    film.remove();
    video.src = URL.createObjectURL(new Blob([bytes], { type: film.dataset.type }));
  }
  restart();
  if (data.tubes.length) listPeople(); else $("correct").hidden = true;
  build();
  window.tubelet = { corrections, labels: () => taken, boxAt: (index, ms) => boxAt(data.tubes[index], ms), segments: () => lists, seek };
})();
