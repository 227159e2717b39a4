/** A node that leaves what V8 has compiled of its program when it stops. Arguments: the bundle, then those of `shoal`. */
import { setFlagsFromString } from 'node:v8';
import { loadProgram } from '../src/cli/compiled-program.ts';

const [bundlePath = '', ...args] = process.argv.slice(2);
// V8 forgets the code of functions that were not called for a while, and a start calls many only once.
setFlagsFromString('--no-flush-bytecode');
const program = loadProgram(bundlePath);
program.keepV8Restorable();
// A daemon ends its process by itself.
process.once('exit', () => {
  setFlagsFromString('--flush-bytecode');
  program.keepCode();
});
process.exitCode = await program.runCli(args);
