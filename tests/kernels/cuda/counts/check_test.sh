#!/usr/bin/env bash
# check.py: what fails, what is only told, and what is skipped.
set -uo pipefail
check=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/check.py
. "$(dirname "${BASH_SOURCE[0]}")/../../../support/stand_ins.sh"
compare() { python3 "$check" table.txt cat found.txt > output 2>&1; }
table() { printf '%s\n' "# by A 1" "# kernel | loads" "norm x | 3 0.5" "norm x | 4 0.5" "rope - | 7 1" > "$1"; }

table table.txt
table found.txt
expect "as it says: passes" compare
expect "as it says: how many rows" grep -q "3 rows, none" output
sed -i 's/norm x | 4/norm x | 5/' found.txt
compare
expect "more: fails" [ $? = 1 ]
expect "more: which row" grep -q "norm x (2): expected \[4.0, 0.5\], found \[5.0, 0.5\]" output
table found.txt
sed -i 's/7 1/7 0.9/; /norm x | 4/d' found.txt
expect "less: passes" compare
expect "less: which row" grep -q "rope -: expected .*found \[7.0, 0.9\]" output
expect "less: a row that is gone" grep -q "norm x (2): gone" output
expect "less: what to do" grep -q "check.py --update table.txt cat found.txt" output
table found.txt
echo "new - | 1 1" >> found.txt
compare
expect "a new row: fails" [ $? = 1 ]
expect "a new row: named" grep -q "new -: not in the table" output
table found.txt
sed -i 's/7 1/7/' found.txt
compare
expect "another number of numbers: fails" [ $? = 1 ]
sed -i 's/A 1/B 2/' found.txt
compare
expect "another compiler: skipped" [ $? = 77 ]
expect "another compiler: says so" grep -q "SKIP: .*A 1.*B 2" output
: > found.txt
: > table.txt
compare
expect "nothing counted: fails" [ $? = 1 ]
python3 "$check" table.txt false
expect "the program fails: so does this" [ $? = 1 ]
python3 "$check" table.txt sh -c "echo SKIP: no tools; exit 77" > output
expect "the program skips: so does this" [ $? = 77 ]
expect "the program skips: says why" grep -q "SKIP: no tools" output
table found.txt
python3 "$check" --update table.txt cat found.txt
expect "written anew" cmp -s table.txt found.txt
exit $failed
