// Draw the charts. For printing they get the width of the paper; the CSS sets the colours.
(() => {
  "use strict";
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const settings = { responsive: true, displayModeBar: false, displaylogo: false };
  const places = Object.keys(charts).map((name) => document.getElementById("chart-" + name));
  const drawn = places.map((place) => {
    const { data, layout } = charts[place.id.slice("chart-".length)];
    return Plotly.newPlot(place, data, layout, settings);
  });
  Promise.all(drawn).then(() => document.documentElement.classList.add("drawn"));
  const PAPER = [640, 310]; // width in pixels of an A4 page without margins, and of a chart beside another
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((element) => {
      element.dataset.wasOpen = element.open;
      element.open = true;
    });
    places.forEach((place) => Plotly.relayout(place, { width: PAPER[place.closest(".charts") ? 1 : 0], autosize: false }));
  });
  addEventListener("afterprint", () => {
    document.querySelectorAll("details").forEach((element) => (element.open = element.dataset.wasOpen === "true"));
    const restore = (place) => Plotly.relayout(place, { width: null, autosize: true });
    requestAnimationFrame(() => places.forEach(restore)); // after the window has its normal width again
  });
})();
