// What is told of an import that failed.

// Whether the import may have been carried out all the same.
export const isUnknown = ({ status }) => [0, 408, 409].includes(status) || status >= 500;

function tooLarge({ bytes, rows }, count) {
  const limits = `${count(rows)} rows and ${count(Math.floor(bytes / 2 ** 20))} MiB`;
  return `The file is too large: it may have ${limits}. Split it into several files.`;
}

// Returns why an import was not planned or, if `isApplying`, not carried out. Nothing is lost.
export function wordsOf({ status, message }, limits, count, isApplying = false) {
  if (isApplying && status === 0) {
    return "No answer has come: the file may have been imported or not. Try again: nothing is imported twice.";
  }
  const words = {
    0: "The service cannot be reached. What you have chosen is still here.",
    401: "Nothing is imported without a token.",
    408: "Sending the file took too long.",
    409: "This import is still running. Try again to see what it has done.",
    413: tooLarge(limits, count),
  }[status];
  if (words || status < 500) {
    return words ?? message;
  }
  return `${message} What you have chosen is still here: try again.`;
}
