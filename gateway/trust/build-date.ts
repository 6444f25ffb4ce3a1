/** When this software was made: below it no clock can be right (a Pi without a battery starts in 1970). */

/** Seconds since 1970; 0 in a checkout, which nobody has built. `npm run pack` writes the date of the sources here. */
export const BUILD_DATE: number = 0;
