// Runs code for a context. Reads "run NUL code NUL run NUL" from 60, says JSON lines on 61, and leaves the standard streams
// to the code. V8 evaluates as it does for the console of a browser: let and const may be declared again, and await stands
// anywhere.
(language, require, importer) => {
  const fs = require('fs'), vm = require('vm'), util = require('util'), net = require('net');
  const inspector = require('inspector'), path = require('path'), { Writable } = require('stream');
  const LIMIT = 6 << 20;
  let run = 0, count = 0, active = null, closing = false;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));

  const writeAll = (fd, bytes) => {
    let at = 0;
    while (at < bytes.length) {
      try {
        at += fs.writeSync(fd, bytes, at);
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
        Atomics.wait(sleeper, 0, 0, 2);
      }
    }
  };
  const say = (kind, fields = {}) => writeAll(61, Buffer.from(JSON.stringify({ run, kind, ...fields }) + '\n'));
  // Whoever writes waits for a slow reader, and nothing is left behind at exit.
  for (const [name, fd] of [['stdout', 1], ['stderr', 2]]) {
    const stream = new Writable({
      decodeStrings: true,
      write(chunk, _, done) {
        try { writeAll(fd, chunk); done(); } catch (error) { done(error); }
      },
    });
    stream.fd = fd;
    stream.on('error', () => {});
    stream._destroy = (error, done) => done(error);
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
  }

  const here = module => module.createRequire(path.join(process.cwd(), 'context'));
  const createRequire = () => here(require('module'));
  globalThis.require = createRequire();
  const hidden = (name, value) => Object.defineProperty(globalThis, name, { value, enumerable: false, configurable: true, writable: true });
  hidden('__bivouac_import', name => importer(/^\.{0,2}\//.test(name)
    ? require('url').pathToFileURL(path.resolve(process.cwd(), name)).href
    : (() => { try { const at = createRequire().resolve(name); return path.isAbsolute(at) ? require('url').pathToFileURL(at).href : at; } catch { return name; } })()));

  // What the evaluator cannot do by itself: `import()`, outside of texts and comments.
  const imports = code => {
    if (!/\bimport\s*\(/.test(code)) return code;
    const token = /\/\/[^\n]*|\/\*[^]*?\*\/|'(?:\\[^]|[^'\\\n])*'|"(?:\\[^]|[^"\\\n])*"|(?<![.\w$])import(?=\s*\()/g;
    return code.replace(token, found => (found === 'import' ? '__bivouac_import' : found));
  };

  const transpiler = () => {
    const strip = require('module').stripTypeScriptTypes;
    if (strip) {
      return code => {
        const emit = process.emitWarning;
        process.emitWarning = () => {};
        try { return strip(code, { mode: 'strip' }); } finally { process.emitWarning = emit; }
      };
    }
    const roots = [process.cwd(), '/usr/local/lib/node_modules', '/usr/lib/node_modules', '/usr/share/nodejs', path.resolve(process.execPath, '../../lib/node_modules')];
    const nested = roots.flatMap(root => [root, path.join(root, 'ts-node'), path.join(root, 'tsx')]);
    const find = name => {
      try { return require(require.resolve(name, { paths: [...nested, ...nested.map(root => path.join(root, 'node_modules'))] })); } catch { return null; }
    };
    const typescript = find('typescript');
    if (typescript) {
      const compilerOptions = { module: 99, target: 99, isolatedModules: true };
      return code => typescript.transpileModule(code, { compilerOptions }).outputText;
    }
    const esbuild = find('esbuild');
    return esbuild && (code => esbuild.transformSync(code, { loader: 'ts', format: 'esm' }).code);
  };
  let prepare = imports;
  if (language === 'typescript') {
    const strip = transpiler();
    if (!strip) {
      say('failed', { message: `node ${process.version} of the image cannot run TypeScript; node from 22.13 on can, and so can any with typescript, ts-node or tsx installed (npm install -g typescript)` });
      process.exit(1);
    }
    prepare = code => imports(strip(code));
  }

  const session = new inspector.Session();
  session.connect();
  let taken;
  hidden('__bivouac_take', value => { taken = value; });
  const post = (method, parameters) => {
    let answer;
    session.post(method, parameters, (error, found) => { answer = error ? null : found; });
    return answer;
  };
  const take = post('Runtime.evaluate', { expression: '__bivouac_take' }).result.objectId;
  delete globalThis.__bivouac_take;
  const valueOf = remote => {
    if (remote.type === 'undefined') return undefined;
    const argument = remote.objectId ? { objectId: remote.objectId }
      : 'unserializableValue' in remote ? { unserializableValue: remote.unserializableValue } : { value: remote.value };
    taken = undefined;
    post('Runtime.callFunctionOn', { objectId: take, functionDeclaration: 'function(v){this(v)}', arguments: [argument] });
    return taken;
  };

  const bounded = text => (text.length > LIMIT / 8 ? text.slice(0, LIMIT / 8) + '...' : text);
  const own = /^\s+at .*(node:inspector|bivouac:runner|node:vm)\b/;
  const shown = value => {
    try {
      const text = util.inspect(value);
      return bounded(text.includes('bivouac:runner') ? text.split('\n').filter(line => !own.test(line)).join('\n') : text);
    } catch (error) {
      return `<cannot be shown: ${error}>`;
    }
  };
  const failed = error => {
    let ename = 'Error', evalue, traceback;
    try {
      if (util.types.isNativeError(error) || error instanceof Error) {
        ename = String(error.name || 'Error');
        evalue = bounded(String(error.message));
        const lines = String(error.stack || `${ename}: ${evalue}`).split('\n');
        const first = lines.findIndex(line => own.test(line));
        traceback = (first < 0 ? lines : lines.slice(0, first)).slice(0, 200);
      }
    } catch {}
    if (!traceback) {
      evalue = shown(error);
      traceback = [`Uncaught ${evalue}`];
    }
    const cut = line => line.slice(0, 1024);
    say('error', { ename: cut(ename), evalue, traceback: traceback.flatMap(line => line.split('\n')).map(cut) });
  };
  const display = (value, data) => {
    const all = { 'text/plain': shown(value), ...data };
    for (const mime of Object.keys(all)) {
      if (JSON.stringify(all[mime] ?? null).length > LIMIT / 2) all[mime] = mime === 'text/plain' ? bounded(String(all[mime])) : undefined;
    }
    say('result', { data: all });
  };
  hidden('display', (value, data) => display(value, data && typeof data === 'object' ? data : {}));
  const interrupted = () => {
    const error = new Error('the run was interrupted');
    error.name = 'Interrupted';
    error.stack = 'Interrupted: the run was interrupted';
    return error;
  };

  const finish = report => {
    if (!active) return;
    active = null;
    closing = true;
    report();
    // Promises that nobody waits for are rejected after the code; what they say belongs to the run.
    setImmediate(() => { closing = false; say('done'); next(); });
  };
  const evaluate = code => {
    const mine = (active = { failed: false });
    globalThis.require = createRequire();
    const end = (error, found) => {
      if (active !== mine) return;
      if (error) return finish(() => failed(error));
      if (found.exceptionDetails) {
        const { exception, text } = found.exceptionDetails;
        return finish(() => failed(exception ? valueOf(exception) : new Error(text)));
      }
      const value = valueOf(found.result);
      finish(() => { if (value !== undefined) { globalThis._ = value; display(value); } });
    };
    let expression;
    try { expression = prepare(code); } catch (error) { return end(error); }
    // Within the script an interrupt ends the run.
    starter = () => { say('begun', { count }); session.post('Runtime.evaluate', { expression, replMode: true, awaitPromise: true, userGesture: false }, end); };
    try {
      script.runInThisContext({ breakOnSigint: true });
    } catch (error) {
      end(error.code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED' ? interrupted() : error);
    }
  };
  let starter;
  hidden('__bivouac_start', () => starter());
  const script = new vm.Script('__bivouac_start()', { filename: 'bivouac:runner' });

  process.on('SIGINT', () => finish(() => failed(interrupted())));
  const loose = error => {
    if (active) finish(() => failed(error));
    else if (closing) failed(error);
    else writeAll(2, Buffer.from(`Uncaught ${shown(error)}\n`));
  };
  process.on('uncaughtException', loose);
  process.on('unhandledRejection', loose);

  const queue = [];
  const next = () => {
    if (active || closing || !queue.length) return;
    const [number, code] = queue.shift();
    run = number;
    if (!code) { say('done'); return next(); }
    count += 1;
    evaluate(code);
  };
  let pending = Buffer.alloc(0), fields = [];
  const input = new net.Socket({ fd: 60, readable: true, writable: false });
  input.on('data', piece => {
    pending = Buffer.concat([pending, piece]);
    for (let end; (end = pending.indexOf(0)) >= 0; pending = pending.subarray(end + 1)) {
      const field = pending.subarray(0, end).toString();
      if (fields.length || field) fields.push(field);
      if (fields.length < 3) continue;
      const [number, code, check] = fields;
      fields = [];
      if (number === check && /^\d+$/.test(number)) queue.push([Number(number), code]);
    }
    next();
  });
  input.on('end', () => process.exit());
}
