/** Source text with what is not code blanked out, and where its functions begin and end. */

/** Files of agent/ itself that put the real world together: nothing of the core imports them. */
export const assembling = "(main|devices|twindevice|options|launch|teehelper|teetwin)\\.ts";
export const assemblers = `agent/${assembling}`;

export interface Source {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** As long as `text`; comments and the inside of literals are spaces. */
  readonly code: string;
}

export function sourceOf(path: string, text: string): Source {
  return { path, text, code: blank(text, /\.(ts|mjs)$/.test(path)) };
}

/** The 1-based line of an offset. */
export function lineAt(source: Source, offset: number): number {
  return source.text.slice(0, offset).split("\n").length;
}

/** After these a slash begins a regular expression; elsewhere it divides. */
const beforeRegex = /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|in|of|do|else))\s*$/;

/** The end of what begins at `at` and is no code, or `at` itself where code goes on. */
function endOfInert(text: string, at: number, code: string, isScript: boolean): number {
  const two = text.slice(at, at + 2);
  const quote = text[at] ?? "";
  if (two === "//") return endOr(text, text.indexOf("\n", at));
  if (two === "/*") return endOr(text, text.indexOf("*/", at + 2), 2);
  const isSeparator = !isScript && quote === "'" && /[0-9a-fA-F]$/.test(code);
  if (quote === '"' || (quote === "'" && !isSeparator)) return afterQuote(text, at + 1, quote);
  if (quote === "/" && isScript && beforeRegex.test(code)) return afterRegex(text, at + 1);
  return at;
}

function endOr(text: string, found: number, more = 0): number {
  return found < 0 ? text.length : found + more;
}

/** Past the closing `quote`; a line's end closes too. */
function afterQuote(text: string, from: number, quote: string): number {
  for (let at = from; at < text.length; at++) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === quote) return at + 1;
    else if (text[at] === "\n") return at;
  }
  return text.length;
}

function afterRegex(text: string, from: number): number {
  let isClass = false;
  for (let at = from; at < text.length; at++) {
    const sign = text[at];
    if (sign === "\n") return at;
    if (sign === "\\") at += 1;
    else if (sign === "[") isClass = true;
    else if (sign === "]") isClass = false;
    else if (sign === "/" && !isClass) return at + 1;
  }
  return text.length;
}

/** Blanks all but line ends; quotes stay, so that a literal can be told from nothing. */
function spaces(text: string): string {
  const isQuoted = /^["']/.test(text);
  const inside = text.replaceAll(/[^\n]/g, " ");
  return isQuoted && text.length > 1 ? `${text[0]}${inside.slice(1, -1)}${text.at(-1)}` : inside;
}

/** As much of the code before a place, blanks drawn together, as tells what may begin there. */
const recentCharacters = 16;

function blank(text: string, isScript: boolean): string {
  const pieces: string[] = [];
  let recent = "";
  const write = (piece: string): void => {
    pieces.push(piece);
    const isBlank = piece.trim() === "";
    if (isBlank && (recent === "" || recent.endsWith(" "))) return;
    recent = (recent + (isBlank ? " " : piece)).slice(-recentCharacters);
  };
  /** For each open template literal the depth of braces inside its `${`. */
  const templates: number[] = [];
  let isText = false;
  for (let at = 0; at < text.length; ) {
    const sign = text[at] ?? "";
    if (isText) {
      const length = sign === "\\" || text.startsWith("${", at) ? 2 : 1;
      if (sign === "`") templates.pop();
      isText = sign !== "`" && !text.startsWith("${", at);
      write(sign === "`" ? sign : spaces(text.slice(at, at + length)));
      at += length;
      continue;
    }
    const end = endOfInert(text, at, recent, isScript);
    if (end > at) {
      write(spaces(text.slice(at, end)));
      at = end;
      continue;
    }
    const depth = templates.at(-1);
    if (sign === "`" && isScript) {
      templates.push(0);
      isText = true;
    } else if (depth !== undefined && sign === "{") templates[templates.length - 1] = depth + 1;
    else if (depth === 0 && sign === "}") isText = true;
    else if (depth !== undefined && sign === "}") templates[templates.length - 1] = depth - 1;
    write(isText && sign === "}" ? " " : sign);
    at += 1;
  }
  return pieces.join("");
}

export interface Extent {
  readonly line: number;
  readonly lines: number;
}

/** The functions of a source; nested ones count for themselves and for what they are in. */
export function functionsOf(source: Source): Extent[] {
  return /\.(ts|mjs)$/.test(source.path) ? scriptFunctions(source.code) : cppFunctions(source.code);
}

/** Offset of the brace that closes the one at `open`. */
function closingBrace(code: string, open: number): number {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    if (code[at] === "{") depth += 1;
    else if (code[at] === "}") depth -= 1;
    if (depth === 0) return at;
  }
  return code.length - 1;
}

function lineNumber(code: string, offset: number): number {
  return code.slice(0, offset).split("\n").length;
}

const control = /^\s*(?:\} )?(?:if|for|while|switch|catch|else|do|try|finally|with|return)\b/;
const method = /^\s*(?:(?:public|private|protected|static|async|override|get|set)\s+)*[\w$#*]+\(/;

/** Relies on the formatter: an opening brace ends its line, parameters end on that line too. */
function scriptFunctions(code: string): Extent[] {
  const lines = code.split("\n");
  const found: Extent[] = [];
  let offset = 0;
  for (const [index, raw] of lines.entries()) {
    const line = raw.trimEnd();
    const open = offset + line.length - 1;
    offset += raw.length + 1;
    if (!line.endsWith("{")) continue;
    const head = headOf(lines, index);
    const header = lines.slice(head, index + 1).join("\n");
    const isArrow = line.endsWith("=> {");
    const isNamed = /\bfunction\b/.test(header) && !/[=(,:]\s*\{$/.test(line);
    const isMethod = method.test(header) && !control.test(header) && /[\w)>\]"'}] \{$/.test(line);
    if (!isArrow && !isNamed && !isMethod) continue;
    const last = lineNumber(code, closingBrace(code, open)) - 1;
    found.push({ line: head + 1, lines: last - head + 1 });
  }
  return found;
}

/** Goes up from a line with an opening brace to where its parentheses are balanced. */
function headOf(lines: readonly string[], index: number): number {
  let head = index;
  let balance = parenthesesIn(lines[head] ?? "");
  while (balance < 0 && head > 0) {
    head -= 1;
    balance += parenthesesIn(lines[head] ?? "");
  }
  return head;
}

function parenthesesIn(line: string): number {
  return line.split("(").length - line.split(")").length;
}

const scope = /\b(?:namespace|class|struct|union|enum|extern)\b[^()]*$/;

/** Blocks with a parameter list directly in a file, namespace or class. */
function cppFunctions(code: string): Extent[] {
  const found: Extent[] = [];
  const readScope = (from: number, end: number): void => {
    let start = from;
    for (let at = from; at < end; at++) {
      if (code[at] === ";" || code[at] === "}") start = at + 1;
      if (code[at] !== "{") continue;
      const header = code.slice(start, at).replaceAll(/^\s*#.*$/gm, "");
      const close = closingBrace(code, at);
      const isInitializer = /^\s*[,{]/.test(code.slice(close + 1));
      if (isInitializer) at = close;
      if (isInitializer) continue;
      if (scope.test(header)) readScope(at + 1, close);
      else if (header.includes("(") && !/=\s*$/.test(header)) {
        const first = start + code.slice(start, at).search(/\S/);
        const line = lineNumber(code, first);
        found.push({ line, lines: lineNumber(code, close) - line + 1 });
      }
      at = close;
      start = close + 1;
    }
  };
  readScope(0, code.length);
  return found;
}
