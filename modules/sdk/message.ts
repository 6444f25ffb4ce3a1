/** The message that is being handled: its header, which the kernel wrote, and its payload. */

import { Bytes } from "./bytes";
import { Reader } from "./reader";

/** Kinds of message. */
export namespace Kind {
  export const send: i32 = 1;
  export const call: i32 = 2;
  export const event: i32 = 3;
  export const reply: i32 = 4;
  export const notice: i32 = 5;
}

const HEADER_BYTES: usize = 64;

let inbox: usize = 0;

/** Tells where the inbox is: the generated entry file calls it once. */
export function placeInbox(address: usize): void {
  inbox = address;
}

export class Message {
  private reader: Reader = new Reader();
  private view: Bytes = new Bytes();

  /** One of `Kind`. */
  get kind(): i32 {
    return <i32>load<u8>(inbox, 2);
  }

  /** Bytes of payload. */
  get length(): i32 {
    return load<i32>(inbox, 4);
  }

  /** The sending module's number, 0 for the kernel. Only the kernel can write it. */
  get senderModule(): u32 {
    return load<u32>(inbox, 8);
  }

  /** Which instance of the sending module. */
  get senderGeneration(): u32 {
    return load<u32>(inbox, 12);
  }

  /** The number that the operator's grant put on the edge by which this came. */
  get badge(): u32 {
    return load<u32>(inbox, 16);
  }

  /** Of the request that a reply or notice answers. */
  get correlation(): u32 {
    return load<u32>(inbox, 20);
  }

  /** Messages lost on this port since the last one. */
  get lost(): u32 {
    return load<u32>(inbox, 24);
  }

  /** Handles that came with it. */
  get handles(): i32 {
    return <i32>load<u8>(inbox, 3);
  }

  /** A handle that came with it, from 0. */
  handle(index: i32): i32 {
    assert(<u32>index < <u32>this.handles, "a handle that the message does not carry");
    return load<i32>(inbox + ((<usize>index) << 2), 32);
  }

  /** The payload as bytes: a view, good until the handler returns. */
  get payload(): Bytes {
    this.view.point(inbox + HEADER_BYTES, this.length);
    return this.view;
  }

  /** A reader at the start of the payload. */
  read(): Reader {
    return this.reader.openAt(inbox + HEADER_BYTES, this.length);
  }
}
