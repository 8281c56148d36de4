// Puts the page together.
import { Store } from "./store.js";
import { connect } from "./connect.js";

const store = new Store();

// mountAll gives each view its section. A view that is not there yet is left out.
function mountAll() {
  for (const id of ["report", "picture", "control", "log", "story", "replay", "charts"]) document.getElementById(id);
  connect(store);
}

mountAll();
