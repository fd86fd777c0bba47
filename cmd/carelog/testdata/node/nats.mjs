// Follows the events over NATS as a subscriber, from the first one that the NATS stream
// has, and prints position, type and subject of each. Started again, it goes on behind
// the last one that it has acknowledged.
//
//   npm ci
//   CARELOG_PASSWORD=<password of billing> node nats.mjs 127.0.0.1:4222 billing
//
// With subjects behind that, as carelog.events.doctor.>, only those events come.
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, nanos } from "@nats-io/transport-node";

const [servers, name, ...subjects] = process.argv.slice(2);
const connection = await connect({ servers, user: name, pass: process.env.CARELOG_PASSWORD, maxReconnectAttempts: -1 });
const manager = await jetstreamManager(connection, { domain: "carelog" });
const settings = {
  durable_name: name, // a subscriber has one, of its own name
  ack_policy: "explicit",
  max_ack_pending: 1, // in order, also after a crash
  ack_wait: nanos(5000), // until an event comes again that was not acknowledged
  filter_subjects: subjects,
};
const made = await manager.consumers.info("CARELOG", name).catch(() => undefined);
await (made ? manager.consumers.update("CARELOG", name, settings) : manager.consumers.add("CARELOG", settings));
const consumer = await jetstream(connection, { domain: "carelog" }).consumers.get("CARELOG", name);

let last = 0; // position of the last event that was handled: one that is not beyond it came twice
for await (const message of await consumer.consume()) {
  const event = message.json();
  if (Number(event.position) > last) {
    console.log(event.position, event.type, event.subject);
    last = Number(event.position);
  }
  message.ack();
}
