// An aedes broker as it comes: `node aedes.js WHERE_IT_IS_INSTALLED PORT`.
const { createRequire } = require('node:module')
const { createServer } = require('node:net')

const { Aedes } = createRequire(`${process.argv[2]}/`)('aedes')
Aedes.createBroker().then((broker) => createServer(broker.handle).listen(Number(process.argv[3]), '127.0.0.1'))
