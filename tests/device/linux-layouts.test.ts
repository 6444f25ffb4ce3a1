/** Structures, request numbers and flags against the kernel's own headers, through a C program that prints them. */
import { afterAll, describe, expect, it } from "vitest";
import { ERRNO, FLAG, LAYOUT, REQUEST } from "../../gateway/device/linux/layouts.ts";
import { hasCompiler, runC, temporaryFolder } from "./fixtures/native.ts";

const HEADERS = `
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <linux/spi/spidev.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/eventfd.h>
int main(void) {
`;

const folder = temporaryFolder();
afterAll(() => {
  folder.remove();
});

function evaluate(expressions: readonly string[]): string[] {
  const lines = expressions.map((expression) => `printf("%llu\\n", (unsigned long long)(${expression}));`);
  return runC(`${HEADERS}${lines.join("\n")}\nreturn 0;\n}\n`, folder.path)
    .trim()
    .split("\n");
}

describe.skipIf(!hasCompiler)("the Linux user API", () => {
  it("has the structures that are written down here", () => {
    const fields = Object.entries(LAYOUT).flatMap(([struct, layout]) =>
      Object.entries(layout).map(([field, offset]) => ({
        struct,
        field: field.replace(/_$/, ""),
        isSize: field === "size",
        offset,
      })),
    );
    const expressions = fields.map(({ struct, field, isSize }) =>
      isSize ? `sizeof(struct ${struct})` : `offsetof(struct ${struct}, ${field})`,
    );
    const found = evaluate(expressions).map((offset, index) => `${expressions[index] ?? ""} ${offset}`);
    expect(found).toEqual(fields.map(({ offset }, index) => `${expressions[index] ?? ""} ${offset}`));
    expect(fields.length).toBeGreaterThan(30);
  });

  it.each([
    ["requests", REQUEST],
    ["flags", FLAG],
    ["error numbers", ERRNO],
  ] as const)("has the %s that are written down here", (_, table) => {
    const names = Object.keys(table);
    const found = evaluate(names).map((value, index) => `${names[index] ?? ""} ${value}`);
    expect(found).toEqual(Object.entries(table).map(([name, value]) => `${name} ${value}`));
  });
});
