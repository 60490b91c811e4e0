import { Inspector } from "./inspector.js";
import { Legend } from "./legend.js";
import { SceneBands } from "./scene_bands.js";
import { Swipe } from "./swipe.js";
import { Picture, createMap } from "./tiles.js";

const find = (id) => document.getElementById(id);

async function start() {
  const answer = await fetch("view.json");
  if (!answer.ok) throw new Error(await answer.text());
  const view = await answer.json();
  const { scene, maps } = view;
  describe(scene, maps);

  const map = createMap(find("map"), scene);
  const waiting = new Set();
  const tell = {
    busy: (who, is) => {
      waiting[is ? "add" : "delete"](who);
      find("busy").hidden = waiting.size === 0;
    },
    problem: (text) => {
      find("problem").textContent = text;
      find("problem").hidden = false;
    },
  };

  const pictures = maps.map((_, number) => new Picture(map, scene, `map/${number}`, `map-${number}`, tell));
  const legend = new Legend(view, find, (hidden) => {
    pictures.forEach((picture, number) => picture.show(hidden(number)));
  });
  legend.show(); // before the scene, because maps are quick to read
  const ground = new Picture(map, scene, "scene", "scene", tell);
  new SceneBands(scene, find("composites"), find("bands"), (bands) => ground.show(`?bands=${bands.join(",")}`));

  const opacity = find("opacity");
  const fade = () => {
    find("opacity-value").textContent = `${opacity.value} %`;
    for (const picture of pictures) picture.pane.style.opacity = opacity.value / 100;
  };
  opacity.addEventListener("input", fade);
  fade();

  if (maps.length === 2) new Swipe(map, pictures, maps.map((each) => each.name), find);
  new Inspector(map, view, find, tell);
  drawer(map);
  document.body.dataset.ready = "yes";
}

function describe(scene, maps) {
  const size = `${scene.width.toLocaleString("en")} × ${scene.height.toLocaleString("en")} pixels`;
  const bands = `${scene.bands.length} band${scene.bands.length === 1 ? "" : "s"}`;
  find("title").textContent = scene.name;
  find("facts").textContent = [size, bands, scene.crs].filter(Boolean).join(" · ");
  find("map-heading").textContent = maps.length === 2 ? "Class maps" : "Class map";
  document.title = `${scene.name} · ${maps.map((each) => each.name).join(" | ")}`;
}

/* On narrow screens the panel is a drawer at the bottom, whose height the rest of the page is given. */
function drawer(map) {
  const handle = find("handle");
  const panel = find("panel");
  handle.addEventListener("click", () => {
    handle.setAttribute("aria-expanded", String(panel.classList.toggle("open")));
  });
  new ResizeObserver(() => {
    document.body.style.setProperty("--drawer", `${panel.offsetHeight}px`);
    map.invalidateSize();
  }).observe(panel);
}

start().catch((error) => {
  find("problem").textContent = error.message;
  find("problem").hidden = false;
});
