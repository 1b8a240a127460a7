// Follows a start through the hub's events; cancels it, whichever server it is of.
(() => {
  const { api, serverPath, duration, pending } = window.springtide;
  const element = (id) => document.getElementById(id);
  const bar = element("progress-bar");
  const message = element("progress-message");
  const cancel = element("stop-server-btn");
  const LOOK_AFTER_MS = 1500;
  const LOOK_AT_MOST_EVERY_MS = 10000;
  let cancelled = false;
  let ended = false;

  const tellAge = () => {
    if (!pending.started) return;
    const age = (Date.now() - new Date(pending.started)) / 1000;
    element("st-since").textContent = pending.since.replace("{duration}", duration(age));
  };
  tellAge();
  setInterval(tellAge, 1000);

  const words = (event) => {
    if (event.ready) return { text: pending.ready };
    // HTML in an event is the spawner's own, which escapes what is not; the hub makes the same promise.
    if (event.html_message) return { html: event.html_message };
    const text = (event.message || "").replace(/^Spawn failed: /, "");
    return { text: pending.known[text] || text };
  };

  const write = (target, { text, html }) => {
    if (html === undefined) target.textContent = text;
    else target.innerHTML = html;
  };

  let last = "";
  const tell = (event) => {
    const said = words(event);
    const key = said.text ?? said.html;
    if (!key || key === last) return;
    last = key;
    write(message, said);
    const entry = document.createElement("li");
    write(entry, said);
    element("progress-log").append(entry);
  };

  const fail = () => {
    bar.classList.add("bg-danger");
    bar.style.background = "";
    element("st-title").textContent = pending.failed;
    element("st-note").hidden = true;
    element("progress-details").open = true;
    element("st-again").hidden = false;
    cancel.hidden = true;
  };

  const handle = (event) => {
    if (ended || cancelled) return;
    if (event.progress !== undefined) {
      bar.setAttribute("aria-valuenow", event.progress);
      bar.style.width = `${event.progress}%`;
    }
    tell(event);
    if (!event.ready && !event.failed) return;
    ended = true;
    events.close();
    // The hub redirects this page to the session once it is ready.
    if (event.ready) window.location.reload();
    else fail();
  };

  const events = new EventSource(pending.progressUrl);
  let streaming = false;
  events.onmessage = ({ data }) => {
    streaming = true;
    handle(JSON.parse(data));
  };
  events.onerror = () => {
    if (ended || cancelled) return;
    message.textContent = pending.lost;
    last = "";
    // A closed stream does not come back by itself; the page then tells how the start has ended.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => window.location.reload(), 3000);
  };

  // Some proxies hold a stream back until it ends. Until something streams, ask, ever less often.
  const look = async (delay) => {
    if (streaming || ended || cancelled) return;
    try {
      const path = [pending.user, pending.server].filter(Boolean).map(encodeURIComponent).join("/");
      const { pending: waits, event } = await (await api("GET", `springtide/progress/${path}`)).json();
      handle(event);
      if (!waits && !ended && !cancelled) window.location.reload();
    } catch {
      // The next look may succeed; the stream tells of a lost connection.
    }
    setTimeout(() => look(Math.min(1.5 * delay, LOOK_AT_MOST_EVERY_MS)), delay);
  };
  setTimeout(() => look(LOOK_AFTER_MS), 300);

  cancel.addEventListener("click", async () => {
    cancelled = true;
    cancel.disabled = true;
    cancel.textContent = pending.cancelling;
    try {
      await api("DELETE", serverPath(pending.user, pending.server));
      window.location.assign(pending.homeUrl);
    } catch (error) {
      cancelled = false;
      element("st-error").textContent = error.message;
      element("st-error").hidden = false;
      cancel.disabled = false;
      cancel.textContent = pending.cancel;
    }
  });
})();
