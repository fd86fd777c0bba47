// Follows the events over HTTP as Server-Sent Events, from the first one on, and prints
// position, type and subject of each. What cuts it off it outlives: it goes on after the
// last event.
//
//   npm ci
//   CARELOG_TOKEN=<access token> node events.mjs http://127.0.0.1:8000 header
//   CARELOG_TOKEN=<access token> node events.mjs http://127.0.0.1:8000 ticket
//
// With "header" each request has the token, which a browser's EventSource cannot send; with
// "ticket" the stream is opened as a browser does it, by a ticket in its URL.
import { EventSource } from "eventsource";

const [base, way] = process.argv.slice(2);
const token = { Authorization: `Bearer ${process.env.CARELOG_TOKEN}` };
let last; // event

function follow(url, options) {
  const source = new EventSource(url, options);
  source.onmessage = ({ data }) => {
    last = JSON.parse(data);
    console.log(last.position, last.type, last.subject);
  };
  source.addEventListener("end", ({ data }) => {
    const { reason, detail } = JSON.parse(data);
    if (["token_expired", "not_allowed", "went_back"].includes(reason)) fail(detail);
  });
  return source;
}

// followByHeader leaves it to the EventSource to connect again, with Last-Event-ID. It
// would give up at any answer but 200, so a server that is not ready yet counts as one
// that cannot be reached.
function followByHeader() {
  const withToken = async (url, init) => {
    const answer = await fetch(url, { ...init, headers: { ...init.headers, ...token } });
    if (answer.status !== 503) return answer;
    await answer.body.cancel();
    throw new Error("the server is not ready");
  };
  const source = follow(`${base}/api/events/`, { fetch: withToken });
  source.onerror = ({ message }) => {
    if (source.readyState === EventSource.CLOSED) fail(message);
  };
}

// followByTicket opens a new EventSource whenever one is cut off, as a ticket is good once.
// It tells which event was the last: a log that has lost it answers 409.
async function followByTicket() {
  const again = () => setTimeout(followByTicket, 1000);
  let answer;
  try {
    answer = await fetch(`${base}/api/events/ticket/`, { method: "POST", headers: token });
  } catch {
    return again();
  }
  if (answer.status === 503) return again();
  if (answer.status !== 201) fail(await answer.text());
  const { ticket } = await answer.json();
  const after = last ? `&after=${last.position}&after_id=${last.id}` : "";
  const source = follow(`${base}/api/events/?ticket=${ticket}${after}`);
  source.onerror = ({ code, message }) => {
    source.close();
    if (code === 409) fail(message);
    again();
  };
}

function fail(why) {
  console.error(why);
  process.exit(1);
}

if (way === "header") followByHeader();
else if (way === "ticket") followByTicket();
else fail('say "header" or "ticket"');
