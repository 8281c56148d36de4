// Puts the page together.
import { Store } from "./store.js";
import { connect } from "./connect.js";
import { mountCharts } from "./charts.js";

const store = new Store();

function mountAll() {
  mountCharts(document.getElementById("charts"), store);
  connect(store);
}

mountAll();
