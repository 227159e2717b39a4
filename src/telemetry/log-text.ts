import { styleText } from 'node:util';

const colours = { error: 'red', warn: 'yellow', info: 'green', debug: 'cyan', trace: 'gray' } as const;

/** Rewrites one JSON log line for people: `21:40:10.123 warn  swarm  message key=value`. What is no JSON stays as it is. */
export function formatLogLine(line: string, isColoured: boolean): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { level, time, msg, part, error, ...fields } = entry;
  const paint = (style: Parameters<typeof styleText>[0], text: string) =>
    isColoured ? styleText(style, text, { validateStream: false }) : text;
  const levelText = String(level ?? 'info');
  const head = [
    paint('gray', String(time ?? '').slice(11, 23)),
    paint(colours[levelText as keyof typeof colours] ?? 'white', levelText.padEnd(5)),
    paint('bold', String(part ?? '-').padEnd(9)),
    String(msg ?? ''),
  ];
  const rest = Object.entries(fields).map(([key, value]) => `${paint('gray', `${key}=`)}${fieldText(value)}`);
  if (error !== undefined) rest.push(`${paint('gray', 'error=')}${errorText(error)}`);
  return `${[...head, ...rest].join(' ')}\n`;
}

function fieldText(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? 'undefined';
}

function errorText(error: unknown): string {
  if (typeof error !== 'object' || error === null) return fieldText(error);
  const { code, name, message, causes, stack } = error as Record<string, unknown>;
  const head = `${String(code ?? name ?? 'Error')}: ${String(message ?? '')}`;
  const below = Array.isArray(causes) ? causes.map((cause: unknown) => ` <- ${errorText(cause)}`).join('') : '';
  return typeof stack === 'string' ? `${head}${below}\n${stack}` : `${head}${below}`;
}
