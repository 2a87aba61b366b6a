// What must happen in the browser: dropping a file, recording keys, a wipe over two videos, dragging jobs.
const sanaStudio = (() => {
  const FRAMES_PER_S = 16;
  const tell = (node, name, detail) => node.dispatchEvent(new CustomEvent(name, {detail, bubbles: false}));

  async function upload(zone, file) {
    zone.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(zone.dataset.upload, {
        method: "POST", body: file, headers: {"X-File-Name": encodeURIComponent(file.name)},
      });
      const kind = answer.headers.get("content-type") || "";
      const said = kind.includes("json") ? await answer.json() : {error: await answer.text()};
      tell(zone, "uploaded", said.key ? said.key : "\n" + (said.error || answer.statusText));
    } catch (error) {
      tell(zone, "uploaded", "\nThe picture did not arrive: " + error.message);
    }
    zone.removeAttribute("aria-busy");
  }

  document.addEventListener("dragover", (event) => {
    const zone = event.target.closest && event.target.closest("[data-upload]");
    if (zone) { event.preventDefault(); zone.classList.add("over"); }
  });
  document.addEventListener("dragleave", (event) => {
    const zone = event.target.closest && event.target.closest("[data-upload]");
    if (zone) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    const zone = event.target.closest && event.target.closest("[data-upload]");
    if (!zone) return;
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) upload(zone, event.dataTransfer.files[0]);
  });
  document.addEventListener("change", (event) => {
    const zone = event.target.closest("[data-upload]");
    if (zone && event.target.files && event.target.files.length) upload(zone, event.target.files[0]);
  });

  // Keys: time goes on while one is held; Space lets it go on without a move.
  const KEYS = "wasdijkl";
  let recording = null;

  function spell(frames) {
    const segments = [];
    for (const keys of frames) {
      const last = segments[segments.length - 1];
      if (last && last[0] === keys) last[1] += 1; else segments.push([keys, 1]);
    }
    return segments.map(([keys, count]) => `${keys}-${count}`).join(",");
  }

  function draw(state) {
    const action = spell(state.frames);
    state.words.textContent = action ? `${(state.frames.length / FRAMES_PER_S).toFixed(2)} s: ${action}` : "Press a key.";
    if (!state.live || !action || state.drawing || state.drawn === action) return;
    state.drawing = true;
    state.drawn = action;
    const next = new Image();
    next.onload = next.onerror = () => {
      if (next.naturalWidth) { state.image.src = next.src; state.image.hidden = false; }
      state.drawing = false;
    };
    next.src = `${state.live}&action=${encodeURIComponent(action)}`;
  }

  function record(button) {
    if (recording) { stop(); return; }
    const box = button.closest(".recorder");
    const state = {box, button, live: box.dataset.live, image: box.querySelector("img"), frames: [], held: new Set(),
      words: box.querySelector(".keys"), drawing: false, drawn: ""};
    state.timer = setInterval(() => {
      if (state.held.size) {
        const keys = [...KEYS].filter((key) => state.held.has(key)).join("");
        state.frames.push(keys || "none");
      }
      draw(state);
    }, 1000 / FRAMES_PER_S);
    recording = state;
    box.classList.add("on");
    button.textContent = "Stop recording";
    button.setAttribute("aria-pressed", "true");
    draw(state);
  }

  function stop() {
    const state = recording;
    recording = null;
    clearInterval(state.timer);
    state.box.classList.remove("on");
    state.button.textContent = "Record";
    state.button.setAttribute("aria-pressed", "false");
    tell(state.box, "recorded", spell(state.frames));
  }

  document.addEventListener("keydown", (event) => {
    if (!recording || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "escape") { stop(); event.preventDefault(); return; }
    if (key === "backspace") {
      const last = recording.frames[recording.frames.length - 1];
      while (recording.frames.length && recording.frames[recording.frames.length - 1] === last) recording.frames.pop();
      draw(recording);
      event.preventDefault();
      return;
    }
    if (KEYS.includes(key) || key === " ") { recording.held.add(key); event.preventDefault(); }
  });
  document.addEventListener("keyup", (event) => {
    if (recording) recording.held.delete(event.key.toLowerCase());
  });
  window.addEventListener("blur", () => recording && recording.held.clear());

  // Two videos as one: the second follows the first.
  function follow(box) {
    const [first, second] = box.querySelectorAll("video");
    if (!first || !second || box.dataset.follows) return;
    box.dataset.follows = "true";
    const keep = () => { if (Math.abs(second.currentTime - first.currentTime) > 0.04) second.currentTime = first.currentTime; };
    for (const name of ["seeked", "timeupdate", "pause"]) first.addEventListener(name, keep);
    first.addEventListener("play", () => { keep(); second.play(); });
    first.addEventListener("pause", () => second.pause());
    first.addEventListener("ratechange", () => { second.playbackRate = first.playbackRate; });
  }

  function wipe(input) {
    const box = document.querySelector(".pair");
    if (box) { follow(box); box.style.setProperty("--wipe", `${input.value}%`); }
  }

  function scrub(id, frame, fps) {
    const video = document.getElementById(id);
    if (video) { video.pause(); video.currentTime = (frame + 0.5) / fps; }
  }

  // Jobs: where one is dropped it goes; their numbers in the new order are told.
  let dragged = null;
  document.addEventListener("dragstart", (event) => { dragged = event.target.closest && event.target.closest("[data-job]"); });
  document.addEventListener("dragover", (event) => {
    const over = dragged && event.target.closest && event.target.closest("[data-job]");
    if (over && over !== dragged) {
      event.preventDefault();
      over.classList.add("over");
    }
  });
  document.addEventListener("dragleave", (event) => {
    const over = event.target.closest && event.target.closest("[data-job]");
    if (over) over.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    const over = dragged && event.target.closest && event.target.closest("[data-job]");
    if (!over || over === dragged) return;
    event.preventDefault();
    over.classList.remove("over");
    const list = over.parentElement;
    const numbers = [...list.querySelectorAll("[data-job]")].map((node) => node.dataset.job);
    const rest = numbers.filter((number) => number !== dragged.dataset.job);
    const after = numbers.indexOf(dragged.dataset.job) < numbers.indexOf(over.dataset.job);
    rest.splice(rest.indexOf(over.dataset.job) + (after ? 1 : 0), 0, dragged.dataset.job);
    dragged = null;
    tell(list, "ordered", rest.join(" "));
  });

  return {record, follow, wipe, scrub};
})();
