// What all pages share: requests to the hub's API, and how times are said.
(() => {
  const { texts } = window.springtide;
  const language = document.documentElement.lang;

  // Sends a request for a user's server; resolves to the answer, or throws an Error with words for the user.
  const api = async (method, path, body) => {
    const query = new URLSearchParams({ _xsrf: window.jhdata.xsrf_token });
    let answer;
    try {
      answer = await fetch(`${window.jhdata.base_url}api/${path}?${query}`, {
        method,
        headers: { "Content-Type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new Error(texts.unreachable);
    }
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    const error = new Error(texts.refused.replace("{message}", said.message || answer.status));
    error.status = answer.status;
    throw error;
  };

  const serverPath = (user, name) =>
    `users/${encodeURIComponent(user)}/` + (name ? `servers/${encodeURIComponent(name)}` : "server");

  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const duration = (seconds) => {
    const [unit, size] = UNITS.find(([, length]) => seconds >= length) || UNITS[3];
    const style = { style: "unit", unit, unitDisplay: "long" };
    return new Intl.NumberFormat(language, style).format(Math.max(0, Math.floor(seconds / size)));
  };

  const moment = (iso) => {
    const date = new Date(iso);
    const today = date.toDateString() === new Date().toDateString();
    return date.toLocaleString(language, { dateStyle: today ? undefined : "medium", timeStyle: "short" });
  };

  Object.assign(window.springtide, { api, serverPath, duration, moment });

  document.addEventListener("DOMContentLoaded", () => {
    for (const link of document.querySelectorAll("[data-st-here]")) {
      if (new URL(link.href).pathname === window.location.pathname) link.setAttribute("aria-current", "page");
    }
  });
})();
