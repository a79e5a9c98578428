"use strict";
// What is live: the requests that come, and the slider of the cost. Without it the page is the same, and stands still.
(() => {
  const by = (id) => document.getElementById(id);
  const list = by("list"), live = by("live"), still = live.textContent;
  const KEPT = 200;

  const follow = () => {
    const { last, lang } = document.body.dataset;
    const events = new EventSource(`/events?after=${last}&lang=${lang}`);
    events.onopen = () => { live.className = "on"; live.textContent = live.dataset.live; };
    // The browser tries again by itself, and says which request it saw last.
    events.onerror = () => { live.className = "still"; live.textContent = still; };
    events.addEventListener("request", (event) => {
      list.insertAdjacentHTML("afterbegin", event.data);
      list.firstElementChild.classList.add("new");
      by("none").hidden = true;
      document.body.dataset.last = event.lastEventId;
      while (list.childElementCount > KEPT) list.lastElementChild.remove();
    });
  };

  const milliseconds = (ms) => `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
  const slide = () => {
    const rtt = Number(slider.value);
    by("rtt-now").textContent = `${rtt} ms`;
    const rows = [...document.querySelectorAll(".bars li")];
    const times = rows.map((row) => Number(row.dataset.trips) * rtt + Number(row.dataset.here));
    // Against the longest way at the far end, so that near means short.
    const longest = Math.max(...rows.map((row) => Number(row.dataset.trips) * Number(slider.max) + Number(row.dataset.here)));
    rows.forEach((row, index) => {
      row.querySelector("rect").setAttribute("width", (times[index] * 100 / longest).toFixed(2));
      row.querySelector(".value").textContent = milliseconds(times[index]);
    });
  };

  const slider = by("rtt");
  if (slider) {
    slider.closest(".slider").hidden = false;
    slider.addEventListener("input", slide);
    slide();
  }
  if (list && window.EventSource) follow();
})();
