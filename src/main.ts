#!/usr/bin/env node
// Nothing may be imported statically here: on a Node that is too old an import fails before a word of help can be printed.
const major = Number(process.versions.node.split('.')[0]);

// 24 is the first with AsyncDisposableStack, by which a node starts and stops; package.json `engines` says the same.
if (major < 24) {
  console.error(
    `shoal: Node ${process.versions.node} is too old, 24 or newer is needed. ` +
      'Install it, or start Shoal with `npm start` or `npx shoal`, which bring their own Node on Linux.',
  );
  process.exitCode = 7;
} else {
  const args = process.argv.slice(2);
  const { findCompiledProgram } = await import('./cli/compiled-program.ts');
  // Short commands load little of the program, and so start faster from its modules.
  const compiled = args.includes('serve') ? findCompiledProgram(`${import.meta.dirname}/bundle/shoal.cjs`) : undefined;
  if (compiled !== undefined) {
    process.exitCode = await compiled.runCli(args);
  } else {
    // Compiled code kept from the last start makes this one about a third faster and 15 MB smaller. Kept inside the package, where
    // only its owner writes: code from a shared temporary directory could be anybody's. Where it cannot be written nothing happens.
    const { enableCompileCache } = await import('node:module');
    enableCompileCache(`${import.meta.dirname}/../node_modules/.cache/shoal`);
    const { runCli } = await import('./cli/run.ts');
    process.exitCode = await runCli(args);
  }
}
