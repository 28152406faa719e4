// Bulk changes of prices, in exact cents.

const CHARM = { 0.95: 95n, 0.99: 99n };
const HUNDRED_PERCENT = 10_000n;

const cents = (amount) => BigInt(Math.round(Number(amount) * 100));
const divided = (number, by) => (2n * number + by) / (2n * by); // of numbers >= 0, half up

// Returns the price after a change {direction, by, unit, ending}: up or down by a percentage or
// an amount, rounded to an ending. It may be negative.
export function changedPrice(price, { direction, by, unit, ending }) {
  const old = cents(price);
  const sign = direction === "down" ? -1n : 1n;
  const changed =
    unit === "percent" ? scaled(old, HUNDRED_PERCENT + sign * cents(by)) : old + sign * cents(by);
  return Number(changed > 0n ? rounded(changed, ending) : changed) / 100;
}

function scaled(old, share) {
  return share < 0n ? (old * share) / HUNDRED_PERCENT : divided(old * share, HUNDRED_PERCENT);
}

// Nearest with this ending; what is free stays free.
function rounded(price, ending) {
  if (ending in CHARM) {
    const below = price - ((((price - CHARM[ending]) % 100n) + 100n) % 100n);
    const isNearerAbove = below < 0n || price - below >= 50n;
    return isNearerAbove ? below + 100n : below;
  }
  const step = cents(ending);
  return divided(price, step) * step;
}
