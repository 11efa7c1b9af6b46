"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const kept = "dynaip-study-" + data.study;
  const pictures = data.images;

  function drawn(seed) { // mulberry32: a rater's order comes from one number, which is saved with the answers
    return function () {
      seed = (seed + 0x6d2b79f5) | 0;
      let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  function order(seed) {
    const next = drawn(seed);
    const tasks = [];
    for (const pair of data.pairs) {
      for (const question of pair.questions) tasks.push({ pair: pair, question: question, swapped: next() < 0.5 });
    }
    for (let k = tasks.length - 1; k > 0; k -= 1) {
      const other = Math.floor(next() * (k + 1));
      [tasks[k], tasks[other]] = [tasks[other], tasks[k]];
    }
    return tasks;
  }

  let state = { rater: "", seed: 0, answers: [] };
  let tasks = [];
  let shownAt = 0;

  function load() {
    try {
      const found = JSON.parse(localStorage.getItem(kept) || "null");
      if (found && found.study === data.study && Array.isArray(found.answers)) return found;
    } catch (error) { /* a browser that keeps nothing: the page works, and cannot be gone on with later */ }
    return null;
  }

  function keep() {
    try { localStorage.setItem(kept, JSON.stringify(result())); } catch (error) { /* as above */ }
  }

  function result() {
    return { study: data.study, rater: state.rater, seed: state.seed, answers: state.answers };
  }

  function show(name) {
    for (const id of ["start", "task", "end"]) at(id).hidden = id !== name;
  }

  function next() {
    if (state.answers.length >= tasks.length) return finish();
    const task = tasks[state.answers.length];
    const question = data.questions[task.question];
    show("task");
    at("place").textContent = state.answers.length + 1 + " of " + tasks.length;
    at("progress").value = state.answers.length / tasks.length;
    at("question").textContent = question.text;
    at("prompt").textContent = question.prompt ? "Asked for: " + task.pair.prompt : "";
    at("references").replaceChildren(...(question.reference ? task.pair.references : []).map((index, place) => {
      const image = document.createElement("img");
      image.src = pictures[index];
      image.alt = "reference " + (place + 1);
      return image;
    }));
    at("left").src = pictures[task.swapped ? task.pair.b : task.pair.a];
    at("right").src = pictures[task.swapped ? task.pair.a : task.pair.b];
    at("back").disabled = state.answers.length === 0;
    at("question").focus({ preventScroll: true });
    window.scrollTo(0, 0);
    shownAt = Date.now();
  }

  function choose(side) {
    if (at("task").hidden || Date.now() - shownAt < 150) return; // a key that is held down answers one question
    const task = tasks[state.answers.length];
    const first = task.swapped ? "right" : "left";
    const choice = side === "tie" ? "tie" : side === first ? "a" : "b";
    state.answers.push({ pair: task.pair.id, question: task.question, choice: choice, swapped: task.swapped, ms: Date.now() - shownAt });
    keep();
    next();
  }

  function back() {
    if (at("task").hidden || !state.answers.length) return;
    state.answers.pop();
    keep();
    next();
  }

  function finish() {
    show("end");
    const text = JSON.stringify(result());
    at("text").value = text;
    at("file").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    at("file").download = "answers-" + data.study + "-" + (state.rater.replace(/[^A-Za-z0-9_-]+/g, "_") || state.seed) + ".json";
    at("file").focus({ preventScroll: true });
  }

  function begin() {
    if (!tasks.length) {
      if (!state.seed) {
        state.seed = window.crypto.getRandomValues(new Uint32Array(1))[0] || 1;
        state.rater = at("rater").value.trim() || "rater-" + state.seed;
      }
      tasks = order(state.seed);
    }
    keep();
    next();
  }

  const count = data.pairs.reduce((sum, pair) => sum + pair.questions.length, 0);
  at("minutes").textContent = Math.max(1, Math.round(count * 7 / 60));
  const before = load();
  if (before) {
    state = { rater: String(before.rater), seed: before.seed >>> 0, answers: before.answers };
    at("rater").value = state.rater;
    at("rater").readOnly = true;
    at("begin").textContent = "Go on";
  }
  at("begin").addEventListener("click", begin);
  at("rater").addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.isComposing) begin(); });
  at("back").addEventListener("click", back);
  at("tie").addEventListener("click", () => choose("tie"));
  for (const button of document.querySelectorAll(".choice")) {
    button.addEventListener("click", () => choose(button.dataset.side));
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || at("task").hidden) return;
    const side = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie" }[event.key];
    if (side) { event.preventDefault(); choose(side); }
    if (event.key === "Backspace") { event.preventDefault(); back(); }
  });
})();
