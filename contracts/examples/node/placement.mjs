// A backend's side of the contract: requests, answered by direct reply-to.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { names } from './broker.mjs';

const DIRECT_REPLY_TO = 'amq.rabbitmq.reply-to';

export class PlacementRefused extends Error {
  constructor({ code, message, retryable, retry_after_ms }) {
    super(`${code}: ${message}`);
    Object.assign(this, { code, retryable, retryAfterMs: retry_after_ms ?? 500 });
  }
}

export class Placement {
  // One channel for requests and replies: the broker sends direct replies to the asking channel.
  static async open(connection, { cell = 'default', user, timeoutMs = 15_000 } = {}) {
    const channel = await connection.createChannel();
    const placement = new Placement(channel, names(cell), user, timeoutMs);
    await placement.#listen();
    return placement;
  }

  constructor(channel, cellNames, user, timeoutMs) {
    Object.assign(this, { channel, names: cellNames, user, timeoutMs, waiting: new Map() });
  }

  /** The answer to one request; rejects with PlacementRefused, or when the time is over. */
  async request(operation, body, requestId = randomUUID()) {
    const correlationId = randomUUID();
    const { promise, resolve, reject } = withResolvers();
    const timer = setTimeout(
      () => reject(new Error(`${operation}: no answer in ${this.timeoutMs} ms; does a service run?`)),
      this.timeoutMs,
    );
    this.waiting.set(correlationId, { resolve, reject });
    try {
      this.channel.publish(this.names.requests, operation, Buffer.from(JSON.stringify(body)), {
        contentType: 'application/json',
        type: operation,
        messageId: correlationId,
        correlationId,
        replyTo: DIRECT_REPLY_TO,
        expiration: this.timeoutMs,
        userId: this.user,
        mandatory: true,
        headers: { request_id: requestId },
      });
      return await promise;
    } finally {
      clearTimeout(timer);
      this.waiting.delete(correlationId);
    }
  }

  /** `request`, asked again while the refusal is one that may pass (no server is known yet). */
  async requestUntil(operation, body, deadlineMs) {
    for (;;) {
      try {
        return await this.request(operation, body);
      } catch (error) {
        const later = Date.now() + (error.retryAfterMs ?? 0);
        if (!error.retryable || later > deadlineMs) throw error;
        await sleep(error.retryAfterMs);
      }
    }
  }

  async #listen() {
    this.channel.on('error', (error) => this.#fail(error));
    this.channel.on('close', () => this.#fail(new Error('the channel closed; outcome unknown')));
    this.channel.on('return', ({ properties }) => {
      const call = this.waiting.get(properties.correlationId);
      call?.reject(new Error('no placement service takes requests in this LADLE_CELL: start one'));
    });
    await this.channel.consume(DIRECT_REPLY_TO, (message) => this.#onReply(message), {
      noAck: true,
    });
  }

  #onReply(message) {
    const call = message && this.waiting.get(message.properties.correlationId);
    if (!call) return; // Its caller has left.
    const reply = JSON.parse(message.content.toString());
    if (reply.status === 'ok') call.resolve(reply);
    else call.reject(new PlacementRefused(reply.error));
  }

  #fail(error) {
    for (const { reject } of this.waiting.values()) reject(error);
  }
}

function withResolvers() {
  const resolvers = {};
  resolvers.promise = new Promise((resolve, reject) => Object.assign(resolvers, { resolve, reject }));
  return resolvers;
}
