const http = require('http');
const server = http.createServer((request, response) => {
  response.end(`node ${process.env.NODE_ENV} as ${process.getuid()}\n`);
});
server.listen(3000);
// The first process of a container has no default action for signals.
process.on('SIGTERM', () => server.close(() => process.exit(0)));
