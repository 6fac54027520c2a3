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

/** A connection; rejects with what is wrong and what to do about it. */
export async function connect(url) {
  let connection;
  try {
    connection = await amqplib.connect(url);
  } catch (error) {
    // Where a name has several addresses the message is empty.
    const said = error.message || error.code;
    const isClosed = /ACCESS_REFUSED|ConnectionOpenOk/.test(said);
    const advice = isClosed ? 'check its user, password and virtual host' : 'is it up?';
    throw new Error(`no broker at LADLE_AMQP_URL (${withoutPassword(url)}): ${said}; ${advice}`);
  }
  // Without a listener Node.js ends the process; whoever waits for a confirm is told anyway.
  connection.on('error', (error) => console.error(`broker: ${error.message}`));
  return connection;
}

/** Who the URL logs in as. Where the service requires it, messages without `user_id` are refused. */
export function userOf(url) {
  return decodeURIComponent(new URL(url).username) || 'guest';
}

function withoutPassword(url) {
  return url.replace(/\/\/([^:@/]*):[^@]*@/, '//$1:***@');
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
    this.closedBy = null; // Why the broker closed the channel: each confirm fails for that reason.
    channel.on('error', (error) => { this.closedBy = notDeclared(error) ?? error; });
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
        if (error) reject(this.closedBy ?? error);
        else if (unroutable) reject(new Error(`${exchange} ${key}: ${unroutable}`));
        else resolve();
      });
    });
  }
}

function notDeclared(error) {
  if (error.code !== 404) return null;
  return new Error(`${error.message}; start the placement service of this LADLE_CELL first`);
}
