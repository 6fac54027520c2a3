// A media server's whole life and a room allocated on it, with nothing but amqplib.
//
//   npm ci && LADLE_AMQP_URL=amqp://localhost LADLE_CELL=default node main.mjs
//
// One JSON object a line says what happened; exit code 1 where something did not.
import { parseArgs } from 'node:util';
import { connect } from './broker.mjs';
import { Placement } from './placement.mjs';
import { MediaServer } from './server.mjs';

const { values: options } = parseArgs({
  options: {
    server: { type: 'string', default: `node-${process.pid}` },
    room: { type: 'string', default: 'standup' },
    peers: { type: 'string', default: '4' },
    'linger-ms': { type: 'string', default: '0' }, // How long the room lasts; commands are obeyed.
  },
});
const url = process.env.LADLE_AMQP_URL ?? 'amqp://localhost';
const cell = process.env.LADLE_CELL ?? 'default';
const peers = Number(options.peers);

function show(what, rest = {}) {
  console.log(JSON.stringify({ did: what, ...rest }));
}

const connection = await connect(url);
try {
  const server = new MediaServer(connection, options.server, { cell });
  await server.start({
    host: `${options.server}.example.org`,
    region: 'eu-west',
    ws_url_template: 'wss://{host}:{port}/?roomId={room_id}',
  });
  await server.reportStatus();
  show('registered', { server_id: options.server, incarnation: server.incarnation });

  const placement = await Placement.open(connection, { cell });
  const home = await placement.requestUntil(
    'allocate',
    { room_id: options.room, peers, server_id: options.server },
    Date.now() + 15_000,
  );
  show('allocated', { reply: home });

  await server.createRoom(options.room, {
    worker_id: home.server.worker_id,
    allocation_id: home.allocation_id,
    peers,
  });
  await server.reportStatus();
  show('created', { room_id: options.room });

  await new Promise((resolve) => setTimeout(resolve, Number(options['linger-ms'])));
  if (server.rooms.has(options.room)) await server.deleteRoom(options.room, 'empty');
  await server.drain('the example ends');
  await server.stop('the example ends');
  show('deregistered', { sequence: server.sequence });
} catch (error) {
  console.error(`failed: ${error.message}`);
  process.exitCode = 1;
} finally {
  await connection.close();
}
