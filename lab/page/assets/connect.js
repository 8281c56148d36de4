// Where messages come from: server-sent events of trivet, or the file that the page is.
import { clock } from "./format.js";

const RETRY = 2000; // milliseconds
const SLICE = 2000; // messages that are taken at once, so that the page stays responsive

// connect fills the store, and keeps it filled.
export function connect(store) {
  const data = document.getElementById("feed");
  if (data) readFile(store, data);
  else listen(store);
  document.addEventListener("visibilitychange", () => document.hidden || store.flush());
}

// readFile takes the messages of a report: gzip in base64, so that no text in it can end the element.
async function readFile(store, data) {
  try {
    const bytes = Uint8Array.from(atob(data.textContent.trim()), (c) => c.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const lines = (await new Response(plain).text()).split("\n");
    for (let i = 0; i < lines.length; i++) {
      if (lines[i]) store.apply(JSON.parse(lines[i]));
      if (i % SLICE === SLICE - 1) await new Promise((resume) => setTimeout(resume));
    }
    store.connected = true;
  } catch (error) {
    store.problem = `This file cannot be read: ${error.message}`;
  }
  store.emit("connection");
  store.flush();
}

// listen takes the messages of trivet. EventSource reconnects by itself, but not after an HTTP error.
function listen(store) {
  const source = new EventSource("api/feed");
  source.onopen = () => {
    store.connected = true;
    store.problem = null;
    store.emit("connection");
  };
  source.onmessage = (event) => {
    const message = JSON.parse(event.data);
    store.apply(message);
    if (message.end) source.close();
  };
  source.onerror = () => {
    if (store.connected) store.problem = `No connection since ${clock(new Date())}.`;
    store.problem ??= "No connection.";
    store.connected = false;
    store.emit("connection");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(store), RETRY);
  };
}
