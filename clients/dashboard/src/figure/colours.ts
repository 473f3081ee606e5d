// Colours of figures: the tokens of the style sheet, and tables for fields.

// The perceptually even map viridis of matplotlib (CC0), 256 entries of RRGGBB.
const viridisHex =
  "44015444025645045745055946075a46085c460a5d460b5e470d60470e6147106347116447136548146748166848176948186a481a6c481b6d481c6e481d6f481f70482071482173482374482475482576482677482878482979472a7a472c7a472d7b472e7c472f7d46307e46327e46337f463480453581453781453882443983443a83443b84433d84433e85423f854240864241864142874144874045884046883f47883f48893e49893e4a893e4c8a3d4d8a3d4e8a3c4f8a3c508b3b518b3b528b3a538b3a548c39558c39568c38588c38598c375a8c375b8d365c8d365d8d355e8d355f8d34608d34618d33628d33638d32648e32658e31668e31678e31688e30698e306a8e2f6b8e2f6c8e2e6d8e2e6e8e2e6f8e2d708e2d718e2c718e2c728e2c738e2b748e2b758e2a768e2a778e2a788e29798e297a8e297b8e287c8e287d8e277e8e277f8e27808e26818e26828e26828e25838e25848e25858e24868e24878e23888e23898e238a8d228b8d228c8d228d8d218e8d218f8d21908d21918c20928c20928c20938c1f948c1f958b1f968b1f978b1f988b1f998a1f9a8a1e9b8a1e9c891e9d891f9e891f9f881fa0881fa1881fa1871fa28720a38620a48621a58521a68522a78522a88423a98324aa8325ab8225ac8226ad8127ad8128ae8029af7f2ab07f2cb17e2db27d2eb37c2fb47c31b57b32b67a34b67935b77937b87838b9773aba763bbb753dbc743fbc7340bd7242be7144bf7046c06f48c16e4ac16d4cc26c4ec36b50c46a52c56954c56856c66758c7655ac8645cc8635ec96260ca6063cb5f65cb5e67cc5c69cd5b6ccd5a6ece5870cf5773d05675d05477d1537ad1517cd2507fd34e81d34d84d44b86d54989d5488bd6468ed64590d74393d74195d84098d83e9bd93c9dd93ba0da39a2da37a5db36a8db34aadc32addc30b0dd2fb2dd2db5de2bb8de29bade28bddf26c0df25c2df23c5e021c8e020cae11fcde11dd0e11cd2e21bd5e21ad8e219dae319dde318dfe318e2e418e5e419e7e419eae51aece51befe51cf1e51df4e61ef6e620f8e621fbe723fde725";

/** 256 colours as R, G, B, A bytes. */
export type ColourTable = Uint8ClampedArray<ArrayBuffer>;

function tableOf(colourAt: (index: number) => [number, number, number]): ColourTable {
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const [r, g, b] = colourAt(i);
    table.set([r, g, b, 255], i * 4);
  }
  return table;
}

export const viridis: ColourTable = tableOf((i) => {
  const at = (k: number) => Number.parseInt(viridisHex.slice(i * 6 + k, i * 6 + k + 2), 16);
  return [at(0), at(2), at(4)];
});

/** Blue, white, red: for values on both sides of zero, which is white. */
export const diverging: ColourTable = tableOf((i) => {
  const blue = [33, 102, 172];
  const red = [178, 24, 43];
  const side = i < 127.5 ? blue : red;
  const share = Math.abs(i - 127.5) / 127.5;
  const mix = (k: number) => Math.round(247 + ((side[k] ?? 0) - 247) * share ** 0.85);
  return [mix(0), mix(1), mix(2)];
});

export function cssColour(table: ColourTable, index: number): string {
  const at = Math.max(0, Math.min(255, Math.round(index))) * 4;
  return `rgb(${table[at]} ${table[at + 1]} ${table[at + 2]})`;
}

/** The present value of a colour of the style sheet, such as `ink-2`. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The colour of the n-th series of a figure. */
export function seriesToken(index: number): string {
  return `series-${(index % 8) + 1}`;
}

export function withAlpha(colour: string, alpha: number): string {
  const share = Math.round(Math.max(0, Math.min(1, alpha)) * 255);
  return `${colour}${share.toString(16).padStart(2, "0")}`;
}

export const figureFont = '11px "Segoe UI", Inter, Roboto, "Liberation Sans", sans-serif';
