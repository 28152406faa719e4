Feature: Files
  Staff who live in spreadsheets take products out, and see what a file would change before it does.

  Background:
    Given these products
      | name       | price | category | img_url                       |
      | Copper pot | 49.95 | Kitchen  | https://img.example.com/1.jpg |
      | Enamel mug | 8.00  | Café     | https://img.example.com/2.jpg |
    And nothing has been downloaded
    And I have the catalogue open

  Scenario: What is filtered is exported, with its number
    When I search for "mug"
    Then I see "Enamel mug"
    When I press "Export"
    Then the export is of "The 1 product that matches"
    And everyone can use the page
    When I export as "Excel"
    Then I get a file ".csv" that begins with "<BOM>id,name" and has ",Enamel mug,https://img.example.com/2.jpg,"
    And the file does not have "Copper pot"
    And "Export" has the focus

  Scenario Outline: Exports for other programs: <kind>
    When I press "Export"
    Then the export is of "The 2 products that match"
    When I export as "<kind>"
    Then I get a file "<ending>" that begins with "<start>" and has "<words>"

    Examples:
      | kind                  | ending | start        | words           |
      | CSV                   | .csv   | id,name,img  | 49.95           |
      | Excel with semicolons | .csv   | <BOM>id;name | ;49,95;0;       |
      | JSON Lines            | .jsonl | {"id":       | "price":49.95   |

  Scenario: A file says what it would change, and changes it
    When I choose the file "prices.csv" with
      """
      id,name,price,category
      {Copper pot},Copper pot,44.95,
      {Enamel mug},Enamel mug,800.00,Café
      """
    Then the plan is "0 new, 2 changed, 0 unchanged, 0 faulty"
    And these cells change
      | row | product    | column   | old     | new             |
      | 3   | Enamel mug | Price    | $8.00   | $800.00 +9,900% |
      | 2   | Copper pot | Price    | $49.95  | $44.95 -10%     |
      | 2   | Copper pot | Category | Kitchen | none            |
    And everyone can use the page
    And the catalogue has
      | name       | price | category |
      | Copper pot | 49.95 | Kitchen  |
      | Enamel mug | 8.00  | Café     |
    And I am warned when I leave the page
    When I press "Carry out"
    Then the import says "0 created, 2 changed, 0 unchanged."
    And everyone can use the page
    And the catalogue has
      | name       | price  | category |
      | Copper pot | 44.95  |          |
      | Enamel mug | 800.00 | Café     |
    And I may leave the page
    When I follow the import to "Enamel mug"
    Then the editor shows
      | Name       | Price  |
      | Enamel mug | 800.00 |

  Scenario: What is exported changes nothing
    When I choose the file "products.jsonl" with
      """
      {"id": {Copper pot}, "price": 49.95}
      """
    Then the plan is "0 new, 0 changed, 1 unchanged, 0 faulty"
    And "Carry out" cannot be pressed

  Scenario: The columns of another shop are named
    When I choose the file "shopify.csv" with
      """
      Handle,Title,Body (HTML),Variant Price,Bild,Status
      rope,Rope,{word},12.50,https://img.example.com/3.jpg,active
      """
    Then the columns are
      | column        | is          |
      | Handle        | Ignored     |
      | Title         | Name        |
      | Body (HTML)   | Description |
      | Variant Price | Price       |
      | Bild          | Ignored     |
      | Status        | Status      |
    And everyone can use the page
    When I say that the column "Bild" is "Picture address"
    And I press "Show what would change"
    Then the plan is "1 new, 0 changed, 0 unchanged, 0 faulty"
    When I press "Carry out"
    Then the import says "1 created, 0 changed, 0 unchanged."
    And I see "Copper pot, Enamel mug, Rope"
    When I follow the import to "Rope"
    Then the editor shows
      | Name | Price | Picture                       |
      | Rope | 12.50 | https://img.example.com/3.jpg |

  Scenario: Faulty rows are told by kind, left out, and given back
    When I choose the file "prices.csv" with
      """
      id,price,rating
      {Copper pot},"1,800",1
      {Enamel mug},9.00,1
      2147483646,1,1
      2147483647,"2,900",1
      """
    Then the plan is "0 new, 1 changed, 0 unchanged, 3 faulty"
    And the faults are
      | kind                              | rows                                                                                                          |
      | price: may mean … or …: write … 2 | Row 2: “1,800” may mean 1800 or 1.8: write 1800.00, Row 5: “2,900” may mean 2900 or 2.9: write 2900.00 |
      | id: no product has this id 2      | Row 4: “2147483646”, Row 5: “2147483647”                                                                      |
    And everyone can use the page
    And "Carry out" cannot be pressed
    When I press "Download the faulty rows"
    Then I get a file with
      """
      id,price,rating,What is wrong
      {Copper pot},"1,800",1,price may mean 1800 or 1.8: write 1800.00
      2147483646,1,1,id no product has this id
      2147483647,"2,900",1,price may mean 2900 or 2.9: write 2900.00; id no product has this id
      """
    When I press "Leave out"
    And I press "Carry out"
    Then the import says "0 created, 1 changed, 0 unchanged."
    And the catalogue has
      | name       | price | rating |
      | Copper pot | 49.95 | 0      |
      | Enamel mug | 9.00  | 1      |
    When I press "Another file…"
    And I choose the file "faulty.csv" with
      """
      id,price,rating,What is wrong
      {Copper pot},1800.00,1,price may mean 1800 or 1.8: write 1800.00
      """
    Then the plan is "0 new, 1 changed, 0 unchanged, 0 faulty"

  Scenario: All faulty rows are given back, however many
    When I choose a file of which 450 rows are "{Copper pot},cheap"
    Then the plan is "0 new, 0 changed, 0 unchanged, 450 faulty"
    When I press "Download the faulty rows"
    Then I get a file with 450 rows

  Scenario: A heading row that is wrong cannot be left out
    When I choose the file "twice.csv" with
      """
      id,price,Price
      {Copper pot},1,2
      """
    Then the faults are
      | kind                                                                                      | rows  |
      | Price: is a second column for price: ignore one of them, or rename it in the file 1 | Row 1 |
    And "Leave out" cannot be pressed
    When I press "Columns…"
    Then the columns are
      | column | is    |
      | id     | Id    |
      | price  | Price |
      | Price  | Price |

  Scenario: A file that only creates what is there already is loud
    When I choose the file "names.csv" with
      """
      name,img_url,price,description
      Copper pot,https://img.example.com/1.jpg,39.95,{word}
      Rope,https://img.example.com/3.jpg,5,{word}
      """
    Then the plan is "2 new, 0 changed, 0 unchanged, 0 faulty"
    And I am warned of "1 of the 2 new products would be there twice"
    And I am warned of "“Copper pot”"
    And everyone can use the page
    When I press "Change these products instead"
    Then the plan is "1 new, 1 changed, 0 unchanged, 0 faulty"
    When I press "Carry out"
    Then the import says "1 created, 1 changed, 0 unchanged."
    And the catalogue has
      | name       | price |
      | Copper pot | 39.95 |
      | Enamel mug | 8.00  |
      | Rope       | 5     |

  Scenario: The products have changed since the plan
    When I choose the file "prices.csv" with
      """
      id,price
      {Copper pot},44.95
      {Enamel mug},9.00
      """
    Then the plan is "0 new, 2 changed, 0 unchanged, 0 faulty"
    When a colleague sets the price of "Copper pot" to "44.95"
    And a colleague sets the price of "Enamel mug" to "8.50"
    And I press "Carry out"
    Then it is different now: "2 changed before, 1 now"
    And it is different now: "2 Copper pot: Price $49.95 → $44.95 changes nothing"
    And it is different now: "3 Enamel mug: Price $8.00 → $9.00 Enamel mug: Price $8.50 → $9.00"
    And everyone can use the page
    And the catalogue has
      | name       | price |
      | Copper pot | 44.95 |
      | Enamel mug | 8.50  |
    When I press "Carry out"
    Then the import says "0 created, 1 changed, 1 unchanged."

  Scenario: Cells are pasted, and stay until they are imported
    When I paste the cells
      """
      id→price→category
      {Copper pot}→44,95→"Pots
      and pans"
      """
    And I press "Close import"
    And I press "Import…"
    Then "cells" has what I pasted
    When I press "Use these cells"
    Then the plan is "0 new, 1 changed, 0 unchanged, 0 faulty"
    When I press "Carry out"
    Then the import says "0 created, 1 changed, 0 unchanged."
    And the catalogue has
      | name       | price |
      | Copper pot | 44.95 |
      | Enamel mug | 8.00  |

  Scenario: A file is dropped on the list
    When I drop the file "prices.csv" with
      """
      id,price
      {Copper pot},44.95
      """
    Then the plan is "0 new, 1 changed, 0 unchanged, 0 faulty"
    And the import is about "prices.csv"

  Scenario: A file of an old spreadsheet says how its letters are written
    When I choose a file in "windows-1252" with
      """
      id;category
      {Copper pot};Café
      """
    Then "Show what would change" cannot be pressed
    And everyone can use the page
    When I choose "Western European (windows-1252)" as "file origin"
    And I press "Show what would change"
    Then these cells change
      | row | product    | column   | old     | new  |
      | 2   | Copper pot | Category | Kitchen | Café |
    When I press "Carry out"
    Then the import says "0 created, 1 changed, 0 unchanged."

  Scenario Outline: A file that cannot be imported: <kind>
    When I paste the cells
      """
      id→price
      """
    And I choose a file "<name>" of <kind>
    Then the import fails with "<words>"
    And everyone can use the page
    When I choose the file "prices.csv" with
      """
      id,price
      {Copper pot},44.95
      """
    Then the plan is "0 new, 1 changed, 0 unchanged, 0 faulty"
    When I press "Another file…"
    Then "cells" has what I pasted

    Examples:
      | kind        | name          | words                      |
      | a workbook  | products.xlsx | is an Excel workbook       |
      | a picture   | products.csv  | is no text                 |
      | nothing     | products.csv  | There is nothing in it     |
      | 9 MiB       | products.csv  | may have 10,000 rows and 8 |

  Scenario: A file of too many rows
    When I choose a file "long.csv" of 10,001 rows
    Then the import fails with "The file is too large: it may have 10,000 rows"
    And the import is about "long.csv"

  Scenario: An import by keyboard alone
    When I go to "Import…" by keyboard and press Enter
    And I go to "cells" by keyboard and type
      """
      id,price
      {Copper pot},44.95
      {Enamel mug},cheap
      """
    And I go to "Use these cells" by keyboard and press Enter
    Then the plan is "0 new, 1 changed, 0 unchanged, 1 faulty"
    When I go to "Leave out" by keyboard and press Space
    And I go to "Carry out" by keyboard and press Enter
    Then the import says "0 created, 1 changed, 0 unchanged."
    When I press the key Escape
    Then "Import…" has the focus

  @slow_network
  Scenario: The answer to an import is lost, and it is asked for again
    When I choose the file "rope.csv" with
      """
      name,img_url,price,description
      Rope,https://img.example.com/3.jpg,5,{word}
      """
    Then the plan is "1 new, 0 changed, 0 unchanged, 0 faulty"
    When the answer to the next of the imports is lost
    And I press "Carry out"
    Then the import fails with "No answer has come"
    And everyone can use the page
    When I press "Try the import again"
    Then the import says "1 created, 0 changed, 0 unchanged."
    And the catalogue has
      | name       |
      | Copper pot |
      | Enamel mug |
      | Rope       |

  @slow_network
  Scenario: An import that is being carried out is not closed
    Given answers to imports are held back
    When I choose the file "prices.csv" with
      """
      id,price
      {Copper pot},44.95
      """
    Then the plan is "0 new, 1 changed, 0 unchanged, 0 faulty"
    When I press "Carry out"
    Then an answer to imports is on its way
    And "Close import" cannot be pressed
    When I press the key Escape
    And the answers arrive
    Then the import says "0 created, 1 changed, 0 unchanged."

  @slow_network
  Scenario: The answer to a plan is late, and lost
    Given answers to plans are held back
    When I choose the file "prices.csv" with
      """
      id,price
      {Copper pot},44.95
      """
    Then an answer to plans is on its way
    And everyone can use the page
    When I press "Close import"
    And the answers arrive
    And the answer to the next of the plans is lost
    And I press "Import…"
    Then the import fails with "cannot be reached"
    When I press "Try the import again"
    Then the plan is "0 new, 1 changed, 0 unchanged, 0 faulty"

  @own_service
  Scenario: The service is busy or down, and nothing that was chosen is lost
    When the database is lost
    And I choose the file "prices.csv" with
      """
      id,price
      1,44.95
      """
    Then the import fails with "What you have chosen is still here"
    And the import is about "prices.csv"
    When the service goes down
    And I press "Try the import again"
    Then the import fails with "cannot be reached"
    When the service is back
    And the database is back
    And I press "Try the import again"
    Then the plan is "0 new, 0 changed, 0 unchanged, 1 faulty"

  @own_service
  Scenario: An import needs the token
    Given only holders of a token may write
    When I choose the file "prices.csv" with
      """
      id,price
      {Copper pot},44.95
      """
    Then I am asked for a token
    And everyone can use the page
    When I press the key Escape
    Then the import fails with "Nothing is imported without a token"
    When I press "Try the import again"
    And I give a token that nobody has
    Then I am told that it is wrong
    When I give the token
    Then the plan is "0 new, 1 changed, 0 unchanged, 0 faulty"
    When I press "Carry out"
    Then the import says "0 created, 1 changed, 0 unchanged."
