"""Writes jinja_cases.json: templates with variables, and what Jinja2 makes of them as Hugging Face sets it up.

    python make_jinja_cases.py

A case is {"template": TEXT, "variables": NAME, "output": TEXT}, or "error": true where Jinja2 raises. The variables of a
case are those of VARIABLES by name.
"""

import json
from pathlib import Path

import hf_jinja

VARIABLES = {
    "none": {},
    "values": {
        "s": "Hello, World",
        "u": " \u4f60\u597d na\u00efve \U0001f600 \u00df ",
        "quotes": "it's \"so\" \\ \n\t\x00\x7f\u00a0\u200b",
        "empty": "",
        "html": "<a href=\"x\">&'</a>",
        "lines": "one\n  two\n\nthree\r\nfour",
        "n": 42,
        "minus": -7,
        "big": 9007199254740993,
        "f": 2.5,
        "fs": [0.1, 1e16, 1e-5, 123456789.0, 1e22, -0.0, 3.0e-7],
        "t": True,
        "no": None,
        "xs": [3, 1, 2],
        "words": ["pear", "Apple", "fig", "apple"],
        "nested": [[1, [2, 3]], {"a": [True, None]}],
        "d": {"b": 1, "a": "x", "C": [1, 2], "items": "mine"},
        "people": [
            {"name": "Ann", "age": 30, "city": {"name": "Rome"}},
            {"name": "bob", "age": 25, "city": {"name": "Oslo"}},
            {"name": "Cid", "age": 30, "city": {"name": "Rome"}},
        ],
        "tree": [{"v": 1, "c": [{"v": 2, "c": [{"v": 3, "c": []}]}, {"v": 4, "c": []}]}],
    },
}

# Expressions of the variables "values".
EXPRESSIONS = r"""
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
-7.5 % 2
7.5 // 2
7 / 2
6 / 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
2.0 ** 0.5
1 / 0
1 // 0
1 % 0
0.1 + 0.2
1e3
1.5e-7
1_000
0x1F + 0o17 + 0b11
00
9223372036854775807
n * n
true + true
True and 'x'
'' or 'y'
none or 0
not 'x'
not not 1
1 < 2 < 3
1 < 3 < 2
1 == 1.0
1 == true
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
[1] == [1.0]
(1,) == [1]
(1, 2)
(1,)
()
[]
{}
{'a': 1, 'b': [2, (3,)], 3: none, true: 1.5}
{'a': 1, 'a': 2}
{[]: 1}
'a' 'b' "c"
'a' ~ 1 ~ none ~ true ~ 2.0 ~ [1, 'x']
'a' + 1
'a' * 3
3 * 'ab'
'a' * -1
[1, 2] * 2
[1] + [2]
[1] + (2,)
(1,) + (2,)
none + 1
'%s and %r' % ('x', 'y')
'%d%%' % 50
'%5.1f|%-5d|%05d|%+d|%x|%X|%o|%e|%g' % (3.14159, 42, 42, 42, 255, 255, 8, 12345.678, 0.0001)
'%s' % none
'%s' % [1, 2]
'%s %s' % ('x',)
'%s' % ('x', 'y')
'%(a)s-%(b)d' % {'a': 'x', 'b': 3}
'%c%c' % (65, 'b')
'%10s|%-10s|%.2s' % ('abc', 'abc', 'abc')
'%d' % 3.9
'%d' % 'x'
'%s %%' % 'a'
'{} {}'.format(1, 'a')
'{1} {0}'.format(1, 'a')
'{a} {b!r}'.format(a=1, b='x')
'{0[k]} {1.real}'.format({'k': 5}, 1) if false else 1
'{:>8}|{:<8}|{:^8}|{:*^8}'.format('ab', 'cd', 'ef', 'gh')
'{:05d} {:+d} {:,} {:x} {:#x} {:b} {:o}'.format(42, 42, 1234567, 255, 255, 5, 8)
'{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25)
'{{}} {}'.format(1)
'{'.format(1)
'{} {}'.format(1)
'{:d}'.format('x')
'{}'.format(none)
'{:>10}'.format(none)
'{}'.format([1, 'a'])
1 in [1, 2]
1 not in [1, 2]
'ell' in s
'b' in d
1 in s
none in [none]
2 in range(5)
7 in range(0, 10, 2)
undefined_name
undefined_name.x
undefined_name['x']
undefined_name + 1
undefined_name ~ 'x'
undefined_name == undefined_other
undefined_name == none
undefined_name is defined
undefined_name | default('d')
undefined_name | length
undefined_name | list
undefined_name or 'z'
undefined_name()
undefined_name in [1]
1 in undefined_name
[undefined_name]
undefined_name < 1
-undefined_name
undefined_name | string
undefined_name | upper
undefined_name | int
undefined_name | tojson
d.missing
d.missing.x
d['missing'] is undefined
d.missing | d('x')
empty | default('d')
empty | default('d', true)
no | default('d')
no | default('d', boolean=true)
d.b
d['b']
d['items']
d.items()
d.keys()
d.values()
d.items() | list
d.get('b')
d.get('zz')
d.get('zz', 5)
d.get([])
d.pop('b')
d.pop
d.update({'x': 1})
d.setdefault
d.copy()
d[[]]
d | length
d | list
d | items | list
d | dictsort
d | dictsort(true)
d | dictsort(false, 'key', true)
{'a': 2, 'b': 1} | dictsort(by='value')
d | first
{'a': 1}.items() | first
xs.append(4)
xs.append
xs.pop()
xs.index(2)
xs.index(9)
xs.count(1)
xs.copy()
xs.sort()
xs[0]
xs[-1]
xs[5]
xs[5] is defined
xs['a']
xs[1.0]
xs[true]
xs.0
xs[0:2]
xs[::-1]
xs[-2:]
xs[::2]
xs[5:1]
xs[:1:-1]
xs['a':]
xs[::0]
(1, 2, 3)[1:]
s[0]
s[-1]
s[100]
s[0:5]
s[::-1]
s[-5:-1]
s[::3]
s[10:2:-2]
u[1]
u[1:3]
u[::-1]
u[10:11]
u | length
u | reverse
u.strip()
u | trim
u.upper()
u.lower()
u | upper
u | title
u.find('na')
u.index('zz')
u.split()
u | list
u | tojson
u | tojson(ensure_ascii=true)
[u]
[quotes]
quotes | tojson
quotes
range(5)
range(5) | list
range(2, 10, 3) | list
range(5, 0, -2) | list
range(0)
range(10)[3]
range(10)[2:5]
range(1, 10, 2)
range(3) | last
range(1000000)
range(10, 0) | list
range(0, 5, 0)
range('a')
s.split(', ')
s.split('l')
s.split('l', 1)
s.split('l', maxsplit=1)
s.rsplit('l', 1)
s.split('')
s.split(none, 1)
'  a b  c '.split()
'  a b  c '.split(none, 1)
'  a b  c '.rsplit(none, 1)
'  a b  c '.split(' ')
'a,b,,c'.split(',')
''.split()
''.split(',')
lines.splitlines()
lines.splitlines(true)
''.splitlines()
'a\n'.splitlines()
'a\r\nb\rc\x0bd'.splitlines(true)
'  x '.strip()
'xxaxx'.strip('x')
'xyaxy'.lstrip('xy')
'xyaxy'.rstrip('yx')
'  x '.lstrip() ~ '|'
'  x '.rstrip() ~ '|'
s.startswith('Hell')
s.startswith(('x', 'He'))
s.endswith('World')
s.endswith(('x',))
s.startswith('World', 7)
s.endswith('Hello', 0, 5)
s.startswith(1)
s.replace('l', 'L')
s.replace('l', 'L', 2)
s.replace('', '-')
s.replace('zz', 'x')
s.upper()
s.lower()
s.title()
"they're bill's friends".title()
"they're bill's friends" | title
s.capitalize()
'hELLO wORLD'.capitalize()
'hELLO wORLD' | capitalize
'Hello'.swapcase()
', '.join(['a', 'b'])
', '.join([1])
'-'.join('abc')
', '.join(d)
s.find('o')
s.find('o', 5)
s.rfind('o')
s.find('zz')
s.index('W')
s.count('l')
s.count('l', 0, 4)
s.count('')
'abc'.isdigit()
'123'.isdigit()
''.isdigit()
'abc'.isalpha()
'ab1'.isalnum()
' \t'.isspace()
'AB'.isupper()
'aB'.islower()
'a1b'.islower()
'42'.zfill(5)
'-42'.zfill(5)
'ab'.ljust(5) ~ '|'
'ab'.rjust(5, '*')
'ab'.center(5) ~ '|'
'abc'.center(6, '*')
'abc'.center(7, '*')
'ab'.center(5, '*')
'a\tb'.expandtabs(4)
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.rpartition('-')
'abc'.nothing
'abc'.nothing()
n.x
n.x.y
no.x
no.x.y
no | upper
n | string
n | length
[1, 2] | length
'abc' | length
'abc' | count
xs | first
xs | last
[] | first
[] | last
[] | first | default('none')
'abc' | first
'abc' | last
xs | join
xs | join(', ')
xs | join(d='-')
people | join(', ', attribute='name')
people | map(attribute='name') | list
people | map(attribute='name') | join('+')
people | map(attribute='city.name') | list
people | map(attribute='nope') | list
people | map(attribute='nope', default='?') | list
people | map(attribute='nope.x') | list
['a', 'b'] | map('upper') | list
[' a ', 'b '] | map('trim') | map('upper') | join('|')
['a-b', 'c'] | map('replace', '-', '+') | list
['1', 'x'] | map('int', default=-1) | list
xs | map('nofilter') | list
[[1, 2], [3]] | map('first') | list
[[1, 2], [3]] | map(attribute=0) | list
xs | map | list
xs | select('odd') | list
xs | select('gt', 1) | list
xs | select('>', 1) | list
xs | select('==', 1) | list
[0, 1, '', 'a'] | select | list
[0, 1, '', 'a'] | reject | list
xs | reject('even') | list
xs | select('in', [1, 2]) | list
people | selectattr('age', 'equalto', 30) | map(attribute='name') | list
people | selectattr('age', 'lt', 30) | list
people | selectattr('city.name', 'eq', 'Rome') | map(attribute='name') | list
people | rejectattr('age', '==', 30) | map(attribute='name') | list
people | selectattr('nope') | list
people | selectattr('nope', 'defined') | list
people | selectattr('name') | list | length
no | selectattr('a') | list
no | map('upper') | list
no | map(attribute='x') | list
no | list
no | join
no | length
n | list
xs | sort
words | sort
words | sort(case_sensitive=true)
words | sort(reverse=true)
people | sort(attribute='age') | map(attribute='name') | list
people | sort(attribute='age,name') | map(attribute='name') | list
[1, 'a'] | sort
xs | reverse | list
'abc' | reverse
words | unique | list
words | unique(case_sensitive=true) | list
[1, 1.0, true, 2] | unique | list
people | unique(attribute='age') | map(attribute='name') | list
people | groupby('age')
people | groupby('city.name') | map(attribute='grouper') | list
people | groupby('age') | map('last') | map('length') | list
xs | min
xs | max
words | min
words | max
[] | max
people | max(attribute='age')
xs | sum
people | sum(attribute='age')
xs | sum(start=10)
[0.1, 0.2] | sum
[[1], [2]] | sum(start=[])
['a'] | sum
range(7) | batch(3) | list
range(7) | batch(3, 'x') | list
range(7) | slice(3) | list
range(7) | slice(3, 'x') | list
-5 | abs
(-5) | abs
-2.5 | abs
'x' | abs
2.5 | round
3.5 | round
2.675 | round(2)
2.7 | round(method='floor')
2.1 | round(0, 'ceil')
42 | round
1234.5 | round(-2)
1250 | round(-2)
2.567 | round(1, 'common')
'42' | int
'42.7' | int
' 42 ' | int
'x' | int
'x' | int(5)
'0x1f' | int(base=16)
'ff' | int(0, 16)
'1_000' | int
42.9 | int
true | int
none | int
[] | int
'3.14' | float
'x' | float
'1e3' | float
'inf' | float
'nan' | float
'x' | float(1.5)
3 | float
'abc' | upper
'ABC' | lower
'hello world-foo (bar)' | title
'  x ' | trim ~ '|'
'xxaxx' | trim('x')
'aaa' | replace('a', 'b')
'aaa' | replace('a', 'b', 2)
123 | replace('2', 'x')
s | center(20) ~ '|'
lines | indent
lines | indent(2)
lines | indent(2, true)
lines | indent(2, first=true, blank=true)
lines | indent('> ')
'' | indent
s | truncate(8)
s | truncate(8, true)
s | truncate(5, false, '...', 0)
s | truncate(9, true, '..', 0)
s | truncate(2)
'foo bar baz qux' | truncate(9, leeway=0)
'one two_three 4' | wordcount
html | e
html | escape
html | safe
html | forceescape
html | e | e
html | e | forceescape
'<b>' | safe + html
html + '<b>' | safe
('<b>' | safe) ~ html
['<b>' | safe]
('<%s>' | safe) % html
('<{}>' | safe).format(html)
('&' | safe).join([html, 'x'])
('a<b' | safe).upper() + '<'
('a,<b' | safe).split(',')[1] + '<'
('<b' | safe)[0] + '<'
('<' | safe) * 2 + '<'
('<' | safe) | upper + '<'
('<' | safe) | string + '<'
('<x' | safe).replace('x', '<')
('<' | safe) == '<'
('<' | safe) is escaped
'<' is escaped
html | urlencode
{'a b': 1, 'c': '&='} | urlencode
'/a b/\u00e9' | urlencode
'%s-%s' | format('a', 1)
'%(x)s' | format(x=3)
d | tojson
nested | tojson
nested | tojson(indent=2)
nested | tojson(2)
nested | tojson(indent='\t')
d | tojson(separators=(',', ':'))
d | tojson(sort_keys=true)
{} | tojson(indent=2)
[[], {}] | tojson(indent=2)
fs | tojson
fs
{1: 2, 1.5: 'x', true: 3, none: 4} | tojson
{(1, 2): 3} | tojson
(1, 2) | tojson
xs | map('string') | tojson
d.items() | tojson
range(3) | tojson
true | tojson
none | tojson
'a/b<c>&' | tojson
'inf' | float | tojson
nested
nested | string
people[0]
people | attr('x')
d | attr('b')
d | attr('items') is callable
1 is odd
2 is even
6 is divisibleby 3
6 is divisibleby(4)
1 is number
true is number
true is integer
1 is integer
1.0 is integer
1.0 is float
'x' is string
none is none
no is none
true is boolean
true is true
1 is true
false is false
d is mapping
xs is mapping
xs is sequence
d is sequence
'x' is sequence
range(3) is sequence
n is sequence
xs is iterable
'x' is iterable
n is iterable
d.items() is iterable
d.items() is sequence
xs | map('string') is iterable
range is callable
n is callable
'ab' is lower
'AB' is upper
1 is eq 1
1 is equalto 1
1 is ne 2
1 is lt 2
2 is ge 2
1 is in [1, 2]
1 is not in [1, 2]
'x' is not string
none is sameas none
1 is sameas 1
xs is sameas xs
'upper' is filter
'nope' is filter
'odd' is test
n is defined and n is number
n is not defined or true
xs is defined
1 if true else 2
1 if false else 2
1 if false
(1 if false) is defined
'a' if 0 else 'b' if 0 else 'c'
[1, 2,]
{'a': 1,}
[1 if t else 2, not t]
namespace(a=1).a
namespace({'a': 1}).a
namespace(a=1).b
namespace(a=1)['a']
dict(a=1, b=2)
dict([('a', 1)])
dict({'a': 1}, b=2)
cycler('a', 'b').next()
'\x41\u4f60\U0001f600\101\n\q\'\"' ~ "\\"
'a\
b'
"it's"
'say "x"'
['it\'s', 'say "x"', 'both \' and "']
[1.0, 1e100, 1.5e-10, 100000000000000000.0, 12345678.9]
1.0
100.0
1e15
1e16
0.0001
0.00001
123456789012345680.0
[true, false, none]
t
no
f
minus
big
big + 0.0
n | nofilter
n is notest
n | nofilter if false else 1
1 if true else n | nofilter
s | upper | lower | title | length
s|upper
(s | length) + 1
s | length + 1
'a' is string and 'b' is string
s.upper().lower().split(',')[0]
s.upper()[0]
people[0].name
people[0]['city'].name[0]
people[-1].city['name']
s.__class__
s.__class__.x
d.__len__
raise_exception('stop')
'a' 'b' ~ 'c'
(xs | length) is divisibleby 3
x is defined and x
[[1, 2], [3, 4]] | map('sum') | sum
d.a.upper()
'abc' | attr('upper')() if false else 1
1.5 | int + 1
'1' + 1 | string
"a" < "b" == true
1 in [1] == true
not 1 == 2
- 1
+ 1
--1
1 - -1
'x' in ['x'] and 'y' not in ['x']
xs[0] if xs else none
xs | length > 2 and xs[0] == 3
loop
d.C[0]
d['C'][-1:]
{'a': {'b': {'c': 1}}}.a.b.c
{'a b': 1}['a b']
{1: 'x'}[1]
{1: 'x'}[1.0]
{1: 'x'}['1']
{'x': 1} == {'x': 1.0}
{'x': 1} != {'x': 2}
none == false
0 == false
'' == none
[none] | tojson
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y, %H:%M')
strftime_now('')
xs, n
xs | join(',') ~ '!'
"%s" | format(xs | join(','))
'%' ~ 1
xs.__len__()
'abc'[1:]|upper
'abc'.upper()[::-1]|lower
'\u00e9\u00df\u03a3\u0416' | upper
'\u00c9\u0416' | lower
'ab' < 'abc'
'Z' < 'a'
'\uffff' < '\U00010000'
""".strip("\n").split("\n")

# Whole templates of the variables "values".
TEMPLATES = [
    "",
    "\n",
    "a\n\n",
    "a\r\nb\rc\n",
    "{# c #}x",
    "  {# c #}\nx",
    "x {# c #}\ny",
    "x {#- c -#} y",
    "x {#-#} y",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%- if t %}\n  b\n  {%- endif %}\nc\n",
    "a\n  {%+ if t %}\n  b\n  {%+ endif %}\nc\n",
    "a\n  {% if t -%}\n  b\n  {% endif -%}\nc\n",
    "a\n  {% if t +%}\n  b\n  {% endif +%}\nc\n",
    "  {{ n }}\n  {{- n -}}\n  x",
    "x  {% if t %}y{% endif %}  z",
    "{% if t %}\n\n\nx{% endif %}\n\n",
    "{% if t %}a{% endif %}\n  {% if t %}b{% endif %}",
    "{{ n -}}\n   {% if t %}\n x {% endif %}",
    "{% raw %}{{ n }} {% if %}{% endraw %}",
    "{%- raw -%}  {{ n }}  {%- endraw -%}  x",
    "  {% raw %}\n x {{ }}\n  {% endraw %}\ny",
    "{% raw %}x",
    "{# open",
    "{{ 'a",
    "{{ n",
    "{% if t",
    "{% if t %}",
    "{% for x in xs %}{% endif %}",
    "{% endif %}",
    "{% else %}",
    "{% nonsense %}",
    "{% include 'x' %}",
    "{{ }}",
    "{{ n n }}",
    "{{ (n }}",
    "{{ n) }}",
    "{{ [1, 2 }}",
    "{{ {'a': {'b': 1}} }}",
    "{{{'a': 1}}}",
    "{{ {'a': 1}['a']}}",
    "{{ 1 | }}",
    "{{ n.}}",
    "{{ n is }}",
    "{{ n is not none }}",
    "{{ a b }}",
    "{{ 'x' if }}",
    "{{ $ }}",
    "{{ n ! }}",
    "{{ 1 = 1 }}",
    "{ n } {n} } }} %} #}",
    "{% set x = 1 %}{{ x }}",
    "{% set x, y = 1, 2 %}{{ y }}{{ x }}",
    "{% set (x, y) = (1, 2) %}{{ y }}{{ x }}",
    "{% set x, y = 1 %}",
    "{% set x, y = [1] %}",
    "{% set x = 1, 2 %}{{ x }}",
    "{% set x = 1,%}{{ x }}",
    "{% set x %}a{{ n }}b{% endset %}{{ x | length }}{{ x }}",
    "{% set x | upper | trim %}  a{{ n }}b {% endset %}{{ x }}|",
    "{% set x %}<{% endset %}{{ x + '<' }}",
    "{% set ns = namespace(a=1, b='x') %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}",
    "{% set ns = namespace() %}{% for x in xs %}{% set ns.last = x %}{% endfor %}{{ ns.last }}",
    "{% set ns = namespace(n=0) %}{% set ns.t %}block{% endset %}{{ ns.t }}",
    "{% set d.x = 1 %}",
    "{% set q.x = 1 %}",
    "{% set true = 1 %}",
    "{% set x = 1 %}{% for i in xs %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}",
    "{% for i in xs %}{% set y = i %}{% endfor %}{{ y }}",
    "{% if t %}{% set x = 5 %}{% endif %}{{ x }}",
    "{% set x = 1 %}{% if not t %}{% set x = 5 %}{% endif %}{{ x }}",
    "{% set n = n + 1 %}{{ n }}",
    "{% for x in xs %}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}",
    "{% for x in xs %}{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }} {% endfor %}",
    "{% for x in xs %}{{ loop.previtem is defined }} {% endfor %}",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in [1, 1, 2] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}",
    "{% for x in xs %}{{ loop.nope }}{% endfor %}",
    "{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for x in xs if x > 9 %}{{ x }}{% else %}nothing{% endfor %}",
    "{% for x in [] %}{{ x }}{% else %}empty {{ n }}{% endfor %}",
    "{% for x in missing %}{{ x }}{% else %}empty{% endfor %}",
    "{% for x in no %}{% endfor %}",
    "{% for x in n %}{% endfor %}",
    "{% for c in 'a\u4f60b' %}[{{ c }}]{% endfor %}",
    "{% for k in d %}{{ k }},{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d | items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [1, 2] %}{% endfor %}",
    "{% for a, b in ['xy', 'zw'] %}{{ b }}{{ a }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "{% for x in (1, 2) if t %}{{ x }}{% endfor %}",
    "{% for x in range(3) %}{% for y in range(2) %}{{ x }}{{ y }}{{ loop.depth }} {% endfor %}{% endfor %}",
    "{% for x in xs %}{% set outer = loop %}{% for y in [1, 2] %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}!",
    "{% for x in xs %}{% break %}{% else %}e{% endfor %}!",
    "{% break %}",
    "{% for x in [[1, 2], [3]] %}{% for y in x %}{% if y == 1 %}{% continue %}{% endif %}{{ y }}{% endfor %};{% endfor %}",
    "{% for x in tree recursive %}{{ x.v }}{{ loop.depth }}[{{ loop(x.c) }}]{% endfor %}",
    "{% for x in tree recursive %}{{ x.v }}{% if x.c %}({{ loop(x.c) | upper }}){% endif %}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for x in xs %}{{ loop(xs) }}{% endfor %}",
    "{% set it = xs | map('string') %}{{ it | list }}{{ it | list }}",
    "{% set it = xs | select('odd') %}{% for x in it %}{{ x }}{% endfor %}{% for x in it %}{{ x }}{% endfor %}",
    "{% set g = [] | map('upper') %}{{ 'yes' if g else 'no' }}",
    "{% if n == 42 %}a{% elif n == 1 %}b{% else %}c{% endif %}",
    "{% if n == 1 %}a{% elif n == 42 %}b{% else %}c{% endif %}",
    "{% if n == 1 %}a{% elif no %}b{% else %}c{% endif %}",
    "{% if undefined_name %}a{% else %}b{% endif %}",
    "{% if 1 if t else 0 %}x{% endif %}",
    "{% if (1 if t else 0) %}x{% endif %}",
    "{% if not t %}a{% endif %}b",
    "{% macro f(a, b='x', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, 2) }} {{ f(1, c=3) }} {{ f(b=1, a=2) }}",
    "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}",
    "{% macro f(a, b) %}{% endmacro %}{{ f(1, 2, 3) }}",
    "{% macro f(a) %}{{ a is defined }}{% endmacro %}{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=1) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=1) }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}",
    "{% macro f(a) %}{{ a }}{{ varargs | join('-') }}{% endmacro %}{{ f(1, 2, 3) }}",
    "{% macro f(a=1, b) %}{% endmacro %}",
    "{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}x{{ n }}{% endcall %}",
    "{% macro f() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b=5) f() %}{{ a }}-{{ b }}{% endcall %}",
    "{% macro f(x) %}{% for i in x %}{{ caller(i) }};{% endfor %}{% endmacro %}{% call(i) f(xs) %}<{{ i }}>{% endcall %}",
    "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}",
    "{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}",
    "{% call n() %}y{% endcall %}",
    "{% call n %}y{% endcall %}",
    "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% set x = 1 %}{% macro f() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ f() }}",
    "{% macro f() %}{% set x = 9 %}{% endmacro %}{{ f() }}{{ x }}",
    "{% macro f() %}{{ y }}{% endmacro %}{% for y in xs %}{{ f() }}{% endfor %}|",
    "{% macro f() %}  x\n{% endmacro %}{{ f() | trim }}{{ f().strip() | length }}",
    "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ xs | map('string') | list }}{{ f('a') + f('b') }}",
    "{{ f() }}{% macro f() %}x{% endmacro %}",
    "{% macro f() %}x{% endmacro %}{{ f.name }} {{ f.arguments }}",
    "{% for x in xs %}{% macro f() %}{{ x }}{% endmacro %}{{ f() }}{% endfor %}",
    "{% macro f(a) %}{% macro g(b) %}{{ a }}{{ b }}{% endmacro %}{{ g(2) }}{% endmacro %}{{ f(1) }}",
    "{% filter upper %}a{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}banana{% endfilter %}",
    "{% filter nope %}x{% endfilter %}",
    "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}{% endwith %}",
    "{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}",
    "{% generation %}a{{ n }}{% set q = 1 %}{% endgeneration %}{{ q }}",
    "{% for x in xs %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}",
    "{% do xs.append(1) %}",
    "{{ raise_exception('no: ' ~ n) }}",
    "{% if false %}{{ raise_exception('x') }}{% endif %}ok",
    "{% if false %}{{ x | nope }}{% endif %}ok",
    "{% if true %}{{ x | nope }}{% endif %}ok",
    "{% if false %}{% for a in xs %}{{ x | nope }}{% endfor %}{% endif %}ok",
    "{% if false %}{{ x is nope }}{% endif %}ok",
    "{% if false %}{% set a = x | nope %}{% elif x is nope %}{% endif %}ok",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{% set _ = c.reset() %}{{ c.current }}",
    "{% set j = joiner('; ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}",
    "{% set f = s.upper %}{{ f() }}",
    "{% set r = range %}{{ r(3) | list }}",
    "{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'a': 3, 'b': 4}) }}{{ f(5, *[6]) }}",
    "{{ dict(**{'a': 1}) }}",
    "{% set l = [] %}{% set l = l + [1] %}{% set l = l + [2] %}{{ l }}",
    "{% set d2 = dict(d, x=1) %}{{ d2 }}",
    "{% for m in people | groupby('age') %}{{ m.grouper }}:{{ m.list | length }} {% endfor %}",
    "{% for age, list in people | groupby('age') %}{{ age }}:{{ list | map(attribute='name') | join('+') }} {% endfor %}",
    "{% for row in range(5) | batch(2) %}{{ row }}{% endfor %}",
    "{% for p in people %}{% if p.name is defined and p.age > 26 %}{{ p.name ~ ' ' ~ p.age }}\n{% endif %}{% endfor %}",
    "{% set ns = namespace(found=false) %}{% for p in people %}{% if p.age == 25 and not ns.found %}{% set ns.found = true %}{{ p.name }}{% endif %}{% endfor %}",
    "{{ people[1:] | map(attribute='name') | list }}",
    "{{ people | tojson(indent=4) }}",
    "{%- for p in people -%}\n  {{ p.name }}\n{%- endfor -%}\n",
    "a{{ '\n' }}b{{ \"\\n\" }}c",
    "{{ 'a\r\nb' }}",
    "{% set x = {\n  'a': 1,\n  'b': [1,\n 2]\n} %}{{ x.b[1] }}",
    "{{ n\n  +\n  1 }}",
    "{%if t%}x{%endif%}",
    "{%-if t-%} x {%-endif-%}",
    "{{n}}{{-n-}}{{+n}}",
    "{% for x in xs -%}\n{{ x }}\n{%- endfor %}",
    "{% for x in xs %}\n{{ x }}\n{% endfor %}\n",
    "\n  \n{% if t %}\n  {% for x in xs %}\n    {{ x }}\n  {% endfor %}\n{% endif %}\n  tail",
    "\t{% if t %}\tx\t{% endif %}\t\n\ty",
    "\u00a0{% if t %}x{% endif %}",
    "x{% set y = 1 %}\n{{ y }}",
    "{% set y = 1 -%}   \n\n  {{ y }}",
    "{{ s[:5] }}{{ s[7:] | upper }}",
    "{{ loop is defined }}",
    "{% for x in xs %}{{ loop is defined }}{% break %}{% endfor %}",
    "{% set messages = [{'role': 'user', 'content': 'hi'}] %}{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] | trim + '<|end|>' }}{% endfor %}",
    "{% set x = 'a' if t else 'b' %}{{ x }}",
    "{% set x = xs | selectattr('a') %}ok",
    "{{ {} | attr }}",
    "{{ '{}' }} {{ '}}' }} {{ '{%' }}",
    "{{ \"{{ n }}\" }}",
    "{# {{ n }} {% if %} #}x",
    "{{ '#}' }}{# x #}",
    "{% if t %}{# c #}\n{% endif %}x",
    "x{# a #}{# b #}\n\ny",
    "{{ none.x }}",
    "{{ (none).x.y }}",
    "{{ [1,2,3][5].x }}",
    "{{ d.nope.nope }}",
    "{% for x in xs recursive %}{% endfor %}ok",
    "{% set a = b = 1 %}",
    "{% set 1 = 2 %}",
    "{% for 1 in xs %}{% endfor %}",
    "{% for x of xs %}{% endfor %}",
    "{% macro %}{% endmacro %}",
    "{% macro f %}{% endmacro %}",
    "{% if %}{% endif %}",
    "{% if t %}{% else %}{% else %}{% endif %}",
    "{% endfor %}",
    "{{ f(a=1, 2) }}",
    "{{ f(**a, *b) }}",
    "{{ xs[1:2:3:4] }}",
    "{{ 'a' is string is string }}",
    "{{ 1 is odd 2 }}",
    "{{ not }}",
    "{{ 1 + }}",
    "{{ 1 not 2 }}",
    "{{ , }}",
    "{{ 1, }}",
    "{{ 1.x }}",
    "{{ 1.5.x }}",
    "{{ xs.0.x }}",
    "{{ 'a' \"b\" }}",
    "{{ 08 }}",
    "{{ 1__0 }}",
    "{{ 1e }}",
    "{{ .5 }}",
    "{{ 5. }}",
    "{{ d | items | first }}",
    "{% set x = d | items %}{{ x | length }}",
]


def case(template):
    try:
        text = hf_jinja.environment().from_string(template).render(**json.loads(json.dumps(VARIABLES["values"])))
        return {"template": template, "output": text}
    except Exception:  # whatever a template makes Python raise
        return {"template": template, "error": True}


def main():
    templates = ["{{ " + e + " }}" for e in EXPRESSIONS] + TEMPLATES
    cases = [case(t) for t in dict.fromkeys(templates)]
    lines = [json.dumps(c) for c in cases]
    head = {"variables": VARIABLES["values"], "now": hf_jinja.NOW}
    text = json.dumps(head)[:-1] + ', "cases": [\n' + ",\n".join(lines) + "\n]}\n"
    (Path(__file__).parent / "jinja_cases.json").write_text(text)
    print(f"{len(cases)} cases, {sum('error' in c for c in cases)} of them errors")


if __name__ == "__main__":
    main()
