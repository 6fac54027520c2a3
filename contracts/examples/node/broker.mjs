// The broker as the contract uses it: names of a cell, and publishing that is confirmed.
import { randomUUID } from 'node:crypto';
import amqplib from 'amqplib';

/** Exchanges and queues of a cell; every name has the cell as a prefix unless it is "default". */
export function names(cell = 'default') {
  const prefix = cell === 'default' ? '' : `${cell}.`;
  return {
    cell,
    events: `${prefix}media.events`,
    requests: `${prefix}placement.requests`,
    commandQueue: (serverId) => `${prefix}media.commands.${serverId}`,
  };
}

export async function connect(url) {
  const connection = await amqplib.connect(url);
  // Without a listener Node.js ends the process; whoever waits for a confirm is told anyway.
  connection.on('error', (error) => console.error(`broker: ${error.message}`));
  return connection;
}

/** Publishes one at a time, each confirmed and routed before the next: order is kept. */
export class ConfirmedPublisher {
  static async open(connection) {
    return new ConfirmedPublisher(await connection.createConfirmChannel());
  }

  constructor(channel) {
    this.channel = channel;
    this.last = Promise.resolve();
    this.returned = new Map();
    channel.on('error', (error) => console.error(`publisher: ${error.message}`));
    // A mandatory message that reaches no queue comes back before it is confirmed.
    channel.on('return', ({ fields, properties }) => {
      this.returned.set(properties.messageId, fields.replyText);
    });
  }

  publish(exchange, key, body, properties) {
    const attempt = this.last.then(() => this.#publishNow(exchange, key, body, properties));
    this.last = attempt.catch(() => {});
    return attempt;
  }

  #publishNow(exchange, key, body, properties) {
    const messageId = randomUUID(); // New for each attempt: returns are matched by it.
    const options = { ...properties, messageId, persistent: true, mandatory: true };
    return new Promise((resolve, reject) => {
      this.channel.publish(exchange, key, Buffer.from(JSON.stringify(body)), options, (error) => {
        const unroutable = this.returned.get(messageId);
        this.returned.delete(messageId);
        if (error) reject(error);
        else if (unroutable) reject(new Error(`${exchange} ${key}: ${unroutable}`));
        else resolve();
      });
    });
  }
}
