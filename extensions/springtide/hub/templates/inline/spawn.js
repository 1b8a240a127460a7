// The spawn page: the chosen card's resources are the ones sent, and the state of the places is kept fresh.
(() => {
  const REFRESH_MS = 10000;
  const picks = [...document.querySelectorAll(".st-pick")];
  const cardOf = (element) => element.closest(".st-card");
  const start = () => document.getElementById("st-start");

  const summarise = (card) => {
    for (const select of card.querySelectorAll("select")) {
      const shown = card.querySelector(`.st-sum [data-of="${select.name}"]`);
      if (shown) shown.textContent = select.selectedOptions[0].textContent;
    }
  };

  // Disabled controls are not submitted: only the chosen card's resources reach the hub.
  const choose = () => {
    for (const pick of picks) {
      const fieldset = cardOf(pick).querySelector(".st-controls");
      if (fieldset) fieldset.disabled = !pick.checked;
      if (!pick.checked) cardOf(pick).querySelector("details")?.removeAttribute("open");
    }
    if (start()) start().disabled = !picks.some((pick) => pick.checked && !pick.disabled);
  };

  for (const pick of picks) {
    pick.addEventListener("change", choose);
    const card = cardOf(pick);
    card.addEventListener("change", () => summarise(card));
    card.querySelector("details")?.addEventListener("toggle", (event) => {
      if (event.target.open && !pick.disabled && !pick.checked) {
        pick.checked = true;
        choose();
      }
    });
  }

  const show = (state) => {
    const pick = picks.find((candidate) => candidate.value === state.profile);
    if (!pick) return "";
    const card = cardOf(pick);
    const badge = card.querySelector(".st-badge");
    const changed = badge.textContent !== state.badge || pick.disabled === state.available;
    badge.textContent = state.badge;
    badge.dataset.state = state.state;
    card.querySelector(".st-state").textContent = state.text;
    card.querySelector(".st-hint").textContent = state.hint;
    pick.disabled = !state.available;
    return changed ? card.querySelector(".st-name").textContent.trim() + ": " + state.badge + ". " : "";
  };

  const refresh = async () => {
    if (document.hidden) return;
    const old = document.getElementById("st-old");
    try {
      const query = new URLSearchParams({ _xsrf: window.jhdata.xsrf_token });
      const answer = await fetch(`${window.jhdata.base_url}api/springtide/places?${query}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.status);
      const news = (await answer.json()).profiles.map(show).join("");
      // Screen readers hear of changes only, not of every look.
      if (news) document.getElementById("st-news").textContent = news;
      old.hidden = true;
      choose();
    } catch {
      old.hidden = false;
    }
  };

  choose();
  setInterval(refresh, REFRESH_MS);
  document.addEventListener("visibilitychange", refresh);
  // Going back to this page from the next one shows it as it was left: with Start disabled.
  window.addEventListener("pageshow", choose);
})();
