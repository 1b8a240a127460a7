// The list of sessions: stop, delete, name another one.
(() => {
  const { api, serverPath, moment, home } = window.springtide;
  const failure = document.getElementById("st-error");

  for (const time of document.querySelectorAll("[data-since]")) {
    time.textContent = home.since.replace("{moment}", moment(time.dateTime));
  }

  const act = async (button) => {
    const { session, title } = button.closest("[data-session]").dataset;
    const action = button.dataset.action;
    if (!window.confirm(home[action].replace("{session}", title))) return;
    button.disabled = true;
    try {
      await api("DELETE", serverPath(home.user, session), action === "delete" ? { remove: true } : undefined);
      window.location.reload();
    } catch (error) {
      failure.textContent = error.message;
      failure.hidden = false;
      button.disabled = false;
    }
  };

  for (const button of document.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => act(button));
  }

  const another = document.getElementById("st-another");
  const nameInput = document.getElementById("st-another-name");
  const nameError = document.getElementById("st-another-error");

  const nameSession = (utils) => async (event) => {
    event.preventDefault();
    const displayName = utils.sanitise_display_name(nameInput.value);
    if (!/[\p{L}\p{N}]/u.test(displayName)) {
      nameError.textContent = home.bad;
      return;
    }
    const name = utils.safe_slug(displayName);
    try {
      await api("PUT", serverPath(home.user, name), { display_name: displayName });
      window.location.assign(`${home.spawnUrl}/${encodeURIComponent(name)}`);
    } catch (error) {
      nameError.textContent = error.status === 409 ? home.taken : error.message;
    }
  };

  // The hub's own rules make the name for URLs out of the name for people.
  if (another) require(["utils"], (utils) => another.addEventListener("submit", nameSession(utils)));

  // What starts or stops changes by itself; who is typing a name is not interrupted.
  const changing = document.querySelector('[data-state="starting"], [data-state="stopping"]');
  const reload = () => {
    if (document.hidden || nameInput?.value || document.activeElement === nameInput) return;
    window.location.reload();
  };
  if (changing?.closest("[data-session]")) setInterval(reload, 5000);
})();
