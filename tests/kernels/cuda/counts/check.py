#!/usr/bin/env python3
"""Compares what a program counts with a table that is checked in.

    check.py [--update] TABLE COMMAND...

A row is a key, " | ", and numbers that should not grow. Exits with 0: none has grown; those that have shrunk, and rows
that are gone, are named, since the table should be written anew (--update). 1: some have, or there are new rows. 77:
what is counted is another compiler's, so that nothing can be said.
"""
import subprocess
import sys

EPSILON = 1e-9


def rows_of(text):
    """{key, told from others like it by how many came before: numbers}, in order."""
    rows, times = {}, {}
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        key, _, numbers = line.partition(" | ")
        key = " ".join(key.split())
        times[key] = times.get(key, 0) + 1
        rows[key if times[key] == 1 else f"{key} ({times[key]})"] = [float(n) for n in numbers.split()]
    return rows


def compilers(text):
    return [line for line in text.splitlines() if line.startswith("# by ")]


def compare(expected, found):
    """(what is worse, what is better), a line each."""
    worse, better = [], []
    for key, numbers in found.items():
        if key not in expected:
            worse.append(f"{key}: not in the table")
            continue
        if len(numbers) != len(expected[key]):
            worse.append(f"{key}: expected {len(expected[key])} numbers, found {len(numbers)}")
            continue
        change = f"{key}: expected {expected[key]}, found {numbers}"
        if any(n > e + EPSILON for n, e in zip(numbers, expected[key])):
            worse.append(change)
        elif any(n < e - EPSILON for n, e in zip(numbers, expected[key])):
            better.append(change)
    better += [f"{key}: gone" for key in expected if key not in found]
    return worse, better


def main(arguments):
    update = arguments[:1] == ["--update"]
    if len(arguments) < 2 + update:
        sys.exit(__doc__)
    table, *command = arguments[update:]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        print(run.stdout)  # 77, too: it says why
        return run.returncode
    if update:
        with open(table, "w") as file:
            file.write(run.stdout)
        return 0
    with open(table) as file:
        expected = file.read()
    if compilers(expected) != compilers(run.stdout):
        print(f"SKIP: {table} has counts {compilers(expected)}, here they are {compilers(run.stdout)}")
        return 77
    worse, better = compare(rows_of(expected), rows_of(run.stdout))
    again = f"{sys.argv[0]} --update {table} {' '.join(command)}"
    if better:
        print("less than the table says:", *better, "write it anew: " + again, sep="\n  ")
    if worse:
        print("MORE than the table says:", *worse, "if that must be, say why and write it anew: " + again, sep="\n  ")
    elif rows_of(run.stdout):
        print(f"{len(rows_of(run.stdout))} rows, none of them more than {table} says")
    return 1 if worse or not rows_of(run.stdout) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
