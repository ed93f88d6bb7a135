/** Pixels from one character's left edge to the next, and from one line's top to the next. */
export const CHARACTER_WIDTH = 6;
export const LINE_HEIGHT = 11;

/** Rows from the top, 5 pixels each; capitals are 7 rows high, descenders reach down to the 9th. */
const shapes: Record<string, string> = {
  A: ".xxx. x...x x...x xxxxx x...x x...x x...x",
  B: "xxxx. x...x x...x xxxx. x...x x...x xxxx.",
  C: ".xxx. x...x x.... x.... x.... x...x .xxx.",
  D: "xxxx. x...x x...x x...x x...x x...x xxxx.",
  E: "xxxxx x.... x.... xxxx. x.... x.... xxxxx",
  F: "xxxxx x.... x.... xxxx. x.... x.... x....",
  G: ".xxx. x...x x.... x.xxx x...x x...x .xxx.",
  H: "x...x x...x x...x xxxxx x...x x...x x...x",
  I: ".xxx. ..x.. ..x.. ..x.. ..x.. ..x.. .xxx.",
  J: "...xx ....x ....x ....x ....x x...x .xxx.",
  K: "x...x x..x. x.x.. xx... x.x.. x..x. x...x",
  L: "x.... x.... x.... x.... x.... x.... xxxxx",
  M: "x...x xx.xx x.x.x x.x.x x...x x...x x...x",
  N: "x...x xx..x x.x.x x..xx x...x x...x x...x",
  O: ".xxx. x...x x...x x...x x...x x...x .xxx.",
  P: "xxxx. x...x x...x xxxx. x.... x.... x....",
  Q: ".xxx. x...x x...x x...x x.x.x x..x. .xx.x",
  R: "xxxx. x...x x...x xxxx. x.x.. x..x. x...x",
  S: ".xxx. x...x x.... .xxx. ....x x...x .xxx.",
  T: "xxxxx ..x.. ..x.. ..x.. ..x.. ..x.. ..x..",
  U: "x...x x...x x...x x...x x...x x...x .xxx.",
  V: "x...x x...x x...x x...x x...x .x.x. ..x..",
  W: "x...x x...x x...x x.x.x x.x.x xx.xx x...x",
  X: "x...x x...x .x.x. ..x.. .x.x. x...x x...x",
  Y: "x...x x...x .x.x. ..x.. ..x.. ..x.. ..x..",
  Z: "xxxxx ....x ...x. ..x.. .x... x.... xxxxx",
  a: "..... ..... .xxx. ....x .xxxx x...x .xxxx",
  b: "x.... x.... xxxx. x...x x...x x...x xxxx.",
  c: "..... ..... .xxx. x.... x.... x...x .xxx.",
  d: "....x ....x .xxxx x...x x...x x...x .xxxx",
  e: "..... ..... .xxx. x...x xxxxx x.... .xxx.",
  f: "..xx. .x... xxxx. .x... .x... .x... .x...",
  g: "..... ..... .xxxx x...x x...x x...x .xxxx ....x .xxx.",
  h: "x.... x.... xxxx. x...x x...x x...x x...x",
  i: "..x.. ..... .xx.. ..x.. ..x.. ..x.. .xxx.",
  j: "...x. ..... ..xx. ...x. ...x. ...x. ...x. ...x. .xx..",
  k: "x.... x.... x..x. x.x.. xx... x.x.. x..x.",
  l: ".xx.. ..x.. ..x.. ..x.. ..x.. ..x.. .xxx.",
  m: "..... ..... xx.x. x.x.x x.x.x x.x.x x.x.x",
  n: "..... ..... xxxx. x...x x...x x...x x...x",
  o: "..... ..... .xxx. x...x x...x x...x .xxx.",
  p: "..... ..... xxxx. x...x x...x x...x xxxx. x.... x....",
  q: "..... ..... .xxxx x...x x...x x...x .xxxx ....x ....x",
  r: "..... ..... x.xx. xx..x x.... x.... x....",
  s: "..... ..... .xxxx x.... .xxx. ....x xxxx.",
  t: ".x... .x... xxxx. .x... .x... .x..x ..xx.",
  u: "..... ..... x...x x...x x...x x...x .xxxx",
  v: "..... ..... x...x x...x x...x .x.x. ..x..",
  w: "..... ..... x...x x...x x.x.x x.x.x .x.x.",
  x: "..... ..... x...x .x.x. ..x.. .x.x. x...x",
  y: "..... ..... x...x x...x x...x x...x .xxxx ....x .xxx.",
  z: "..... ..... xxxxx ...x. ..x.. .x... xxxxx",
  0: ".xxx. x...x x..xx x.x.x xx..x x...x .xxx.",
  1: "..x.. .xx.. ..x.. ..x.. ..x.. ..x.. .xxx.",
  2: ".xxx. x...x ....x ...x. ..x.. .x... xxxxx",
  3: "xxxxx ...x. ..x.. ...x. ....x x...x .xxx.",
  4: "...x. ..xx. .x.x. x..x. xxxxx ...x. ...x.",
  5: "xxxxx x.... xxxx. ....x ....x x...x .xxx.",
  6: "..xx. .x... x.... xxxx. x...x x...x .xxx.",
  7: "xxxxx ....x ...x. ..x.. .x... .x... .x...",
  8: ".xxx. x...x x...x .xxx. x...x x...x .xxx.",
  9: ".xxx. x...x x...x .xxxx ....x ...x. .xx..",
  "%": "xx..x xx..x ...x. ..x.. .x... x..xx x..xx",
  ".": "..... ..... ..... ..... ..... .xx.. .xx..",
  ",": "..... ..... ..... ..... ..... .xx.. .xx.. ..x.. .x...",
  ":": "..... .xx.. .xx.. ..... .xx.. .xx.. .....",
  ";": "..... .xx.. .xx.. ..... ..... .xx.. .xx.. ..x.. .x...",
  "-": "..... ..... ..... xxxxx ..... ..... .....",
  _: "..... ..... ..... ..... ..... ..... xxxxx",
  "+": "..... ..x.. ..x.. xxxxx ..x.. ..x.. .....",
  "=": "..... ..... xxxxx ..... xxxxx ..... .....",
  "/": "..... ....x ...x. ..x.. .x... x.... .....",
  "(": "...x. ..x.. .x... .x... .x... ..x.. ...x.",
  ")": ".x... ..x.. ...x. ...x. ...x. ..x.. .x...",
  "'": "..x.. ..x.. .x... ..... ..... ..... .....",
  '"': ".x.x. .x.x. ..... ..... ..... ..... .....",
  "!": "..x.. ..x.. ..x.. ..x.. ..... ..x.. .....",
  "?": ".xxx. x...x ....x ...x. ..x.. ..... ..x..",
  " ": "",
};

/** Stands for every character the font lacks. */
const missing = "xxxxx x...x x...x x...x x...x x...x xxxxx";

/** Visits the pixels of one line of text, with (0, 0) at its top left. */
export function eachTextPixel(text: string, visit: (x: number, y: number) => void): void {
  [...text].forEach((character, at) => {
    const rows = (shapes[character] ?? missing).split(" ");
    rows.forEach((row, y) => {
      for (let x = 0; x < row.length; x++) if (row[x] === "x") visit(at * CHARACTER_WIDTH + x, y);
    });
  });
}

/** Pixels that one line of text is wide. */
export function textWidth(text: string): number {
  return Math.max(0, [...text].length * CHARACTER_WIDTH - 1);
}
