// Reads a run's page anew while the run goes on, and loads what steps were given and gave when it is asked for.
(() => {
  const live = document.getElementById("run-live");
  if (!live) return;
  const EVERY_MS = 2000;

  const fetched = async (url) => {
    const answer = await fetch(url, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`${answer.status} of ${url}`);
    return answer;
  };

  const load = async (details) => {
    if (!details.open || details.dataset.isLoaded) return;
    details.dataset.isLoaded = "true";
    const payload = details.querySelector(".wf-payload");
    try {
      payload.innerHTML = await (await fetched(details.dataset.src)).text();
    } catch {
      delete details.dataset.isLoaded;
      payload.textContent = "It could not be loaded. Close and open this to try again.";
    }
  };
  live.addEventListener("toggle", (event) => load(event.target), true);

  // What is open stays open, and where the drawing was scrolled to; a step that has gone on is loaded again.
  const replace = (html) => {
    const open = new Map([...live.querySelectorAll("details[open]")].map((one) => [one.dataset.key, one]));
    const canvas = live.querySelector(".wf-canvas");
    const place = canvas && [canvas.scrollLeft, canvas.scrollTop];
    const focused = document.activeElement?.getAttribute("href") ?? document.activeElement?.id;
    live.innerHTML = html;
    for (const details of live.querySelectorAll("details[data-key]")) {
      const before = open.get(details.dataset.key);
      if (!before) continue;
      if (before.dataset.state === details.dataset.state) details.replaceWith(before);
      else details.open = true;
    }
    const fresh = live.querySelector(".wf-canvas");
    if (fresh && place) [fresh.scrollLeft, fresh.scrollTop] = place;
    if (focused) [...live.querySelectorAll("a, [id]")].find((one) => (one.getAttribute("href") ?? one.id) === focused)?.focus();
  };

  const poll = async () => {
    try {
      const state = await (await fetched(live.dataset.stateUrl)).json();
      const isTyping = live.contains(document.activeElement) && document.activeElement.matches("input, select");
      if (String(state.last_event) !== live.dataset.lastEvent && !isTyping) {
        replace(await (await fetched(live.dataset.liveUrl)).text());
        live.dataset.lastEvent = state.last_event;
      }
      // The buttons above depend on whether it has ended.
      if (state.is_finished) return isTyping ? setTimeout(poll, EVERY_MS) : location.reload();
    } catch {
      // Away for a moment; the next one may come through.
    }
    setTimeout(poll, EVERY_MS);
  };
  if (live.dataset.finished === "false") setTimeout(poll, EVERY_MS);
})();
