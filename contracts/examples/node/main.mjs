// A media server's whole life and a room allocated on it, with nothing but amqplib.
//
//   npm ci && LADLE_AMQP_URL=amqp://localhost LADLE_CELL=default node main.mjs
//
// One JSON object a line says what happened. Exit code 1 where something did not, 2 for options
// that are none; standard error says what and why.
import { parseArgs } from 'node:util';
import { connect, userOf } from './broker.mjs';
import { Placement } from './placement.mjs';
import { MediaServer } from './server.mjs';

const url = process.env.LADLE_AMQP_URL ?? 'amqp://localhost';
const cell = process.env.LADLE_CELL ?? 'default';

function readOptions() {
  const { values } = parseArgs({
    options: {
      server: { type: 'string', default: `node-${process.pid}` },
      room: { type: 'string', default: 'standup' },
      peers: { type: 'string', default: '4' },
      'linger-ms': { type: 'string', default: '0' }, // How long the room lasts; commands are obeyed.
    },
  });
  const [peers, lingerMs] = [Number(values.peers), Number(values['linger-ms'])];
  if (!Number.isInteger(peers) || peers < 1) throw new Error('--peers: a whole number from 1 on');
  if (!(lingerMs >= 0)) throw new Error('--linger-ms: milliseconds from 0 on');
  return { ...values, peers, lingerMs };
}

function show(what, rest = {}) {
  console.log(JSON.stringify({ did: what, ...rest }));
}

/** What a server and a backend do for one room, from its allocation to its end. */
async function liveOneRoom(server, placement, { room, peers, lingerMs }) {
  const home = await placement.requestUntil(
    'allocate',
    { room_id: room, peers, server_id: server.serverId },
    Date.now() + 15_000,
  );
  show('allocated', { reply: home });
  if (home.server.server_id !== server.serverId) {
    // It had a home before we asked, and has to be made there and nowhere else.
    throw new Error(`room ${room} is on ${home.server.server_id} already: name another --room`);
  }
  await server.createRoom(room, {
    worker_id: home.server.worker_id,
    allocation_id: home.allocation_id,
    peers,
  });
  await server.reportStatus();
  show('created', { room_id: room });

  await new Promise((resolve) => setTimeout(resolve, lingerMs));
  if (server.rooms.has(room)) await server.deleteRoom(room, 'empty');
  await server.drain('the example ends');
}

async function main(options) {
  const connection = await connect(url);
  try {
    const user = userOf(url);
    const server = new MediaServer(connection, options.server, { cell, user });
    try {
      await server.start({
        host: `${options.server}.example.org`,
        region: 'eu-west',
        ws_url_template: 'wss://{host}:{port}/?roomId={room_id}',
      });
      await server.reportStatus();
      show('registered', { server_id: options.server, incarnation: server.incarnation });
      await liveOneRoom(server, await Placement.open(connection, { cell, user }), options);
    } catch (error) {
      // The first reason is the one to tell; without its leave the server would be waited for.
      await server.stop('the example failed').catch(() => {});
      throw error;
    }
    await server.stop('the example ends');
    show('deregistered', { sequence: server.sequence });
  } finally {
    await connection.close().catch(() => {}); // The broker may have closed it before.
  }
}

try {
  const options = readOptions();
  await main(options).catch((error) => {
    console.error(`failed: ${error.message}`);
    process.exitCode = 1;
  });
} catch (error) {
  console.error(`usage: ${error.message}`);
  process.exitCode = 2;
}
