// Several requests at once, but not too many.
const AT_ONCE = 4;
const REASONS = {
  404: "was deleted by somebody else meanwhile",
  412: "was changed by somebody else meanwhile",
};

// Does `work` for each item; resolves with [{item, failure}] of those that failed.
export async function inParallel(items, work, isStopped = () => false) {
  const queue = [...items];
  const failures = [];
  const worker = async () => {
    while (queue.length && !isStopped()) {
      const item = queue.shift();
      await work(item).catch((failure) => failures.push({ item, failure }));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return failures;
}

export const reasonOf = (failure) => REASONS[failure.status] ?? failure.message;
