Feature: Undo what was changed together
  An import or a bulk change can be undone later: after a look at what will be set back, and without
  taking back what has been changed since.

  Background:
    Given these products
      | name       | price | category |
      | Copper pot | 49.95 | Kitchen  |
      | Enamel mug | 8.00  | Kitchen  |
      | Hose       | 24.50 | Garden   |
    And I have the catalogue open

  Scenario: A bulk change is undone from the history, days later
    When I press "Select all"
    And I press "Set category"
    And I choose "Sale" as "new category"
    And I press "Apply"
    Then I am told "3 products have been updated"
    When I open "Hose"
    And I press "History"
    Then the request is offered as "Undo all 3 changes made together…"
    When a colleague sets the price of "Copper pot" to "45"
    And I press "Undo this request"
    Then what will be set back is
      | product    | how                     |
      | Hose       | Category Sale → Garden  |
      | Enamel mug | Category Sale → Kitchen |
    And "Copper pot" is left as it is
    And everyone can use the page
    When I press "Set back"
    Then I am told "2 products have been set back"
    And the catalogue has
      | name       | price | category |
      | Copper pot | 45    | Sale     |
      | Enamel mug | 8.00  | Kitchen  |
      | Hose       | 24.50 | Garden   |
    When I press "Details"
    Then the result says "Enamel mug Sale → Kitchen"

  Scenario: An import is undone from its result: created, changed and all
    When I choose the file "prices.csv" with
      """
      id,name,img_url,price,description
      {Copper pot},Copper pan,https://img.example.com/1.jpg,44.95,{word}
      ,Rope,https://img.example.com/3.jpg,5,{word}
      """
    Then the plan is "1 new, 1 changed, 0 unchanged, 0 faulty"
    When I press "Carry out"
    Then the import says "1 created, 1 changed, 0 unchanged."
    And everyone can use the page
    When I press "Undo this import…"
    Then what will be set back is
      | product    | how                                                       |
      | Rope       | will be deleted                                           |
      | Copper pan | Name Copper pan → Copper pot, Picture address https://img.example.com/1.jpg → https://img.example.com/product.jpg, Price $44.95 → $49.95 |
    And everyone can use the page
    When I press "Set back"
    Then I am told "2 products have been set back"
    And the catalogue has
      | name       | price |
      | Copper pot | 49.95 |
      | Enamel mug | 8.00  |
      | Hose       | 24.50 |
    And I see "Copper pot, Enamel mug, Hose"

  Scenario: What was deleted together is brought back together
    When I select "Copper pot, Hose"
    And I press "Delete selected"
    And I press "Yes"
    And I press "Delete now"
    Then I am told "2 products have been deleted"
    When I press "Deleted…"
    And I bring back "Hose"
    And I press "Close deleted"
    And I open "Hose"
    And I press "History"
    And I press "Undo this request"
    Then what will be set back is
      | product    | how                  |
      | Copper pot | will be brought back |
    And "Hose" is left as it is
    When I press "Set back"
    Then I am told "1 product has been set back"
    And the catalogue has
      | name       | price | category |
      | Copper pot | 49.95 | Kitchen  |
      | Enamel mug | 8.00  | Kitchen  |
      | Hose       | 24.50 | Garden   |

  Scenario: What is changed after the look is told, and left alone
    When I press "Select all"
    And I press "Set status"
    And I press "Apply"
    Then I am told "3 products have been updated"
    When I open "Hose"
    And I press "History"
    And I press "Undo this request"
    Then 3 products will be set back
    When a colleague sets the price of "Copper pot" to "45"
    And I press "Set back"
    Then the summary names "Copper pot" alone
    And everyone can use the page
    And the catalogue has
      | name       | price | status   |
      | Copper pot | 45    | inactive |
      | Enamel mug | 8.00  | active   |
      | Hose       | 24.50 | active   |
    When I press "Close summary"
    And I press "Undo this request"
    Then 0 products will be set back
    And "Set back" cannot be pressed
    When I press "Cancel undoing"
    Then I am told "2 products have been set back, 1 not"

  Scenario: A single change has no request to undo
    Given a colleague has set the price of "Hose" to "20"
    When I open "Hose"
    And I press "History"
    Then the history has 2 changes
    And everyone can use the page
    And "Undo this request" is not there

  Scenario: Undo a request by keyboard alone, on a phone
    Given I use a phone
    When I choose the file "prices.csv" with
      """
      id,price
      {Copper pot},44.95
      {Enamel mug},9.00
      """
    And I press "Carry out"
    Then the import says "0 created, 2 changed, 0 unchanged."
    When I go to "Undo this import…" by keyboard and press Enter
    Then 2 products will be set back
    And everyone can use the page
    When I go to "Set back" by keyboard and press Enter
    Then I am told "2 products have been set back"
    And the catalogue has
      | name       | price |
      | Copper pot | 49.95 |
      | Enamel mug | 8.00  |
      | Hose       | 24.50 |

  @slow_network
  Scenario: An answer is lost while a request is undone
    When I press "Select all"
    And I press "Set category"
    And I choose "Sale" as "new category"
    And I press "Apply"
    Then I am told "3 products have been updated"
    When I open "Hose"
    And I press "History"
    Then the request is offered as "Undo all 3 changes made together…"
    When the answer to the next of the requests is lost
    And I press "Undo this request"
    Then undoing fails with "cannot be reached"
    And everyone can use the page
    When answers to histories are held back
    And I press "Try undoing again"
    Then an answer to histories is on its way
    And everyone can use the page
    When the answers arrive
    Then 3 products will be set back
    When the answer to the next of the updates is lost
    And answers to updates are held back
    And I press "Set back"
    Then an answer to updates is on its way
    And I am warned when I leave the page
    When the answers arrive
    Then I am told "3 products have been set back"
    And the catalogue has
      | name       | category |
      | Copper pot | Kitchen  |
      | Enamel mug | Kitchen  |
      | Hose       | Garden   |
