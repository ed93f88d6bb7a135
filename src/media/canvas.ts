import { eachTextPixel, textWidth } from "./bitmap-font.ts";
import type { Color } from "./color-map.ts";

/** A rectangle of pixels. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** An RGB picture to draw on. What falls outside it is left out. */
export class Canvas {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3] */
  readonly rgb: Uint8Array;

  constructor(width: number, height: number, background: Color) {
    this.width = width;
    this.height = height;
    this.rgb = new Uint8Array(width * height * 3);
    this.rect({ x: 0, y: 0, width, height }, background);
  }

  set(x: number, y: number, color: Color): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return;
    this.rgb.set(color, (y * this.width + x) * 3);
  }

  rect(box: Box, color: Color): void {
    this.paint(box, () => color);
  }

  /** Colours each pixel of a box by its place in the box. */
  paint({ x, y, width, height }: Box, color: (column: number, row: number) => Color): void {
    for (let row = 0; row < height; row++)
      for (let column = 0; column < width; column++) this.set(x + column, y + row, color(column, row));
  }

  /** One line of text, from its top left, centre or right. */
  text(
    text: string,
    x: number,
    y: number,
    color: Color,
    align: "left" | "center" | "right" = "left",
    scale = 1,
  ): void {
    const width = textWidth(text) * scale;
    const left = align === "left" ? x : align === "right" ? x - width : Math.round(x - width / 2);
    eachTextPixel(text, (column, row) =>
      this.rect({ x: left + column * scale, y: y + row * scale, width: scale, height: scale }, color),
    );
  }
}
