// BullMQ on Node: the same verbs as aio.py, in the language that it is written in.

import { createInterface } from "node:readline";
import { performance } from "node:perf_hooks";
import { Queue, QueueEvents, Worker } from "bullmq";

const [role, url, options = "{}"] = process.argv.slice(2);
const { hostname: host, port } = new URL(url);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const REMOVE = { removeOnComplete: true };
const KEEP = { removeOnComplete: { count: 10_000 } }; // who waits for a job must still find it
const SETTINGS = "concurrency 100, finished jobs removed (awaited ones kept), results by QueueEvents";
const BATCH = 1000;

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const cpu = () => { const used = process.cpuUsage(); return (used.user + used.system) / 1e6; };
const monotonic = () => Number(process.hrtime.bigint()) / 1e9;
const payload = (number, size) => (`${number}:` + "x".repeat(size)).slice(0, size);

async function timed(work) {
  const [at, used] = [performance.now(), cpu()];
  await work();
  return { seconds: (performance.now() - at) / 1000, cpu: cpu() - used };
}

class Peer {
  async open() {
    this.queue = new Queue("bench", { connection });
    this.events = new QueueEvents("bench", { connection });
    this.events.setMaxListeners(0);
    await this.events.waitUntilReady();
  }
  async execute(text, name = "noop") {
    const job = await this.queue.add(name, { text }, KEEP);
    await job.waitUntilFinished(this.events);
  }
  execute_parent(text) { return this.execute(text, "parent"); }
  async execute_chain(text) { for (let n = 0; n < 5; n++) await this.execute(text); }
  enqueue_each({ n, size }) {
    return timed(async () => {
      for (let i = 0; i < n; i++) await this.queue.add("noop", { text: payload(i, size) }, REMOVE);
    });
  }
  enqueue_bulk({ n, size }) {
    return timed(async () => {
      for (let start = 0; start < n; start += BATCH) {
        const jobs = [];
        for (let i = start; i < Math.min(start + BATCH, n); i++)
          jobs.push({ name: "noop", data: { text: payload(i, size) }, opts: REMOVE });
        await this.queue.addBulk(jobs);
      }
    });
  }
  async executions({ n, size, kind = "execute" }) {
    const taken = [];
    for (let i = 0; i < n; i++) {
      const began = performance.now();
      await this[kind](payload(i, size));
      taken.push((performance.now() - began) / 1000);
    }
    return { taken };
  }
  callers({ n, size, callers }) {
    const call = async () => {
      for (let i = 0; i < Math.floor(n / callers); i++) await this.execute(payload(i, size));
    };
    return timed(() => Promise.all(Array.from({ length: callers }, call)));
  }
}

const peer = new Peer();
await peer.open();
const lines = createInterface({ input: process.stdin });
if (role === "worker") {
  const marks = new Set(JSON.parse(options).marks);
  let count = 0;
  lines.on("close", () => process.exit(0));
  say({ ready: SETTINGS });
  new Worker("bench", async (job) => {
    if (job.name === "parent") return peer.execute(job.data.text);
    count += 1;
    if (marks.has(count)) say({ mark: count, at: monotonic(), cpu: cpu() });
  }, { connection, concurrency: 100 });
} else {
  say({ ready: SETTINGS });
  for await (const line of lines) {
    const { verb, ...given } = JSON.parse(line);
    try { say({ ok: await peer[verb](given) }); } catch (error) { say({ error: String(error.stack) }); }
  }
  process.exit(0);
}
