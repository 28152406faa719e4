"""The pure functions of the page, called in the browser."""

import json
import re

from behave import then
from behave.runner import Context

CALL = """
    const [module, name, calls, done] = arguments;
    import(`/static/page/${module}.js`)
      .then((all) => done(calls.map((given) => JSON.stringify(all[name](...given) ?? null))))
      .catch((error) => done(String(error)));
"""
FORMAT = """
    const [language, done] = arguments;
    import("/static/page/numbers.js").then(({ formats }) => {
      const { money, price, count } = formats(language);
      done([money(1234.5), price(1234.5), count(1000)]);
    });
"""


@then('"{name}" of "{module}" gives')
def function_gives(context: Context, name: str, module: str) -> None:
    calls = [json.loads(f"[{row['arguments']}]") for row in context.table]
    expected = [json.loads(row["result"]) for row in context.table]
    results = context.driver.execute_async_script(CALL, module, name, calls)
    assert isinstance(results, list), results
    for call, result, wanted in zip(calls, map(json.loads, results), expected, strict=True):
        assert result == wanted, f"{name} of {call}: expected {wanted!r}, got {result!r}"


@then("1234.5 and 1000 are shown")
def numbers_are_shown(context: Context) -> None:
    for row in context.table:
        shown = context.driver.execute_async_script(FORMAT, row["language"])
        plain = [text.replace("\u00a0", " ") for text in shown]
        assert plain == [row["money"], row["price"], row["count"]], plain


@then('the excerpts of long texts begin with "…" before what differs')
def excerpts_are_cut(context: Context) -> None:
    texts = ["x" * 500 + end + "z" * 500 for end in ("a", "b")]
    (result,) = context.driver.execute_async_script(CALL, "changes", "excerpts", [texts])
    for end, excerpt in zip("ab", json.loads(result), strict=True):
        assert re.fullmatch(f"…x{{40}}{end}z{{119}}…", excerpt), excerpt
