/** The JavaScript values that stand for CBOR items. */

/** Map keys are integers and texts; anything else is refused before decoding. */
export type CborKey = number | bigint | string;

export type CborMap = ReadonlyMap<CborKey, CborValue>;

/** Integers beyond 2^53 are bigints; `undefined` and other simple values do not occur. */
type CborScalar = number | bigint | string | boolean | null | Uint8Array;

export type CborValue = CborScalar | readonly CborValue[] | CborMap | CborTag;

/** What can be encoded: decoded values, and plain objects as maps with text keys. */
export type CborInput =
  | CborScalar
  | readonly CborInput[]
  | ReadonlyMap<CborKey, CborInput>
  | CborTag<CborInput>
  | { readonly [key: string]: CborInput };

/** A tag and what it holds. */
export class CborTag<Content = CborValue> {
  readonly tag: number;
  readonly value: Content;

  constructor(tag: number, value: Content) {
    this.tag = tag;
    this.value = value;
  }
}
