// A media server's side of the contract: it says what happens on it, and does what it is told.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfirmedPublisher, names } from './broker.mjs';

const CLOUDEVENTS = 'application/cloudevents+json';

export class MediaServer {
  constructor(connection, serverId, { cell = 'default', user, workers = 2 } = {}) {
    this.connection = connection;
    this.serverId = serverId;
    this.names = names(cell);
    this.user = user;
    this.workers = Array.from({ length: workers }, (_, number) => `${number}`);
    this.rooms = new Map(); // room_id -> { worker_id, allocation_id, peers, sequence }
    this.incarnation = Date.now(); // Which life this is; grows with every start.
    this.sequence = 0;
  }

  async start(server) {
    this.publisher = await ConfirmedPublisher.open(this.connection);
    this.description = server;
    await this.register();
    this.stopping = false;
    this.listening = this.#listen(); // Beside all else: rooms do not wait for commands.
  }

  register() {
    return this.#say('server-registered', () => ({
      server: this.description,
      workers: this.workers.map((worker_id) => ({ worker_id, capacity_consumers: 500 })),
    }));
  }

  createRoom(roomId, { worker_id, allocation_id, peers }) {
    return this.#say('room-created', (sequence) => {
      this.rooms.set(roomId, { worker_id, allocation_id, peers, sequence });
      return { room_id: roomId, worker_id, allocation_id, expected_peers: peers };
    });
  }

  deleteRoom(roomId, reason) {
    return this.#say('room-deleted', () => {
      const { allocation_id } = this.rooms.get(roomId);
      this.rooms.delete(roomId);
      return { room_id: roomId, allocation_id, reason };
    });
  }

  /** A complete status: every room, taken in the same step as the sequence. */
  reportStatus() {
    return this.#say('worker-status', () => ({
      workers: this.workers.map((worker_id) => this.#load(worker_id)),
      rooms: [...this.rooms].map(([room_id, room]) => ({
        room_id,
        worker_id: room.worker_id,
        allocation_id: room.allocation_id,
        peers: room.peers,
        consumers: consumersOf(room),
      })),
      complete: true,
    }));
  }

  drain(reason) {
    return this.#say('server-draining', () => ({ reason }));
  }

  async stop(reason) {
    try {
      await this.#say('server-deregistered', () => ({ reason }));
    } finally {
      this.stopping = true; // Or it would look for its command queue for ever.
      await this.listening;
    }
    await this.commands?.close();
  }

  #load(worker_id) {
    const rooms = [...this.rooms.values()].filter((room) => room.worker_id === worker_id);
    return {
      worker_id,
      state: 'running',
      consumers: rooms.reduce((sum, room) => sum + consumersOf(room), 0),
      producers: rooms.reduce((sum, room) => sum + 2 * room.peers, 0),
      rooms: rooms.length,
      cpu_permille: 50 * rooms.length,
      memory_bytes: 50_000_000,
    };
  }

  // `data` is made in the step that takes the sequence: nothing can come between the two.
  #say(type, data) {
    const sequence = (this.sequence += 1);
    const event = {
      specversion: '1.0',
      id: randomUUID(),
      source: `/servers/${this.serverId}`,
      type,
      time: new Date().toISOString(),
      incarnation: this.incarnation,
      sequence,
      data: data(sequence),
    };
    const key = `${type}.${this.serverId}`;
    const properties = { contentType: CLOUDEVENTS, type, userId: this.user };
    return this.publisher.publish(this.names.events, key, event, properties);
  }

  // Ladle declares the command queue when it learns of the server: try until it is there.
  async #listen() {
    while (!this.stopping) {
      try {
        const channel = await this.connection.createChannel();
        channel.on('error', () => {}); // A queue that is missing closes the channel: 404.
        await channel.consume(this.names.commandQueue(this.serverId), (message) => {
          if (message !== null) void this.#onMessage(message);
        });
        this.commands = channel;
        return;
      } catch {
        await sleep(200);
      }
    }
  }

  async #onMessage(message) {
    try {
      await this.#obey(JSON.parse(message.content.toString()));
      this.commands.ack(message);
    } catch (error) {
      console.error(`command refused: ${error.message}`);
      this.commands.nack(message, false, false);
    }
  }

  async #obey({ id, type, data }) {
    const isOld = Date.parse(data.expires_at) < Date.now();
    const isForAnotherLife = data.incarnation !== undefined && data.incarnation !== this.incarnation;
    if (isOld || isForAnotherLife) return;
    console.log(JSON.stringify({ command: type, id }));
    if (type === 'register') await this.#identify(data);
    else if (type === 'report-rooms') await this.reportStatus();
    else if (type === 'close-room') await this.#closeRoom(data);
  }

  // Ladle does not know this server, or it knows a later life of it.
  async #identify({ known_incarnation, refused_sequence }) {
    if (known_incarnation !== undefined) {
      if (refused_sequence !== 1) throw new Error('superseded by another process of this name');
      this.incarnation = known_incarnation + 1; // This clock is behind that of the life before.
      this.sequence = 0;
    }
    await this.register();
    await this.reportStatus();
  }

  async #closeRoom({ room_id, created_sequence = Infinity, reason }) {
    const room = this.rooms.get(room_id);
    if (room && room.sequence <= created_sequence) await this.deleteRoom(room_id, reason);
  }
}

/** n peers with two streams each, all of them received by everybody else. */
function consumersOf({ peers }) {
  return peers * (peers - 1) * 2;
}
