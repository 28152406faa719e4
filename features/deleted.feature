Feature: What was deleted
  It can be seen, and brought back under its id.

  Background:
    Given these products
      | name       | price | category |
      | Copper pot | 49.95 | Kitchen  |
      | Enamel mug | 8.00  | Café     |
    And I have the catalogue open

  Scenario: Bring back what was deleted
    When I open "Enamel mug"
    And I press "Delete"
    And I press "Yes"
    Then I see "Copper pot"
    When a colleague deletes "Copper pot"
    And I press "Deleted…"
    Then the first of what was deleted is "Enamel mug, Copper pot"
    And everyone can use the page
    When I bring back "Copper pot"
    Then of what was deleted I am told "“Copper pot” has been brought back."
    And the first of what was deleted is "Enamel mug"
    And the catalogue has
      | name       | price | category |
      | Copper pot | 49.95 | Kitchen  |
    And the next of what was deleted has the focus
    When I press "Close deleted"
    Then "Deleted…" has the focus
    And I see "Copper pot"
    When I open "Copper pot"
    And I press "History"
    Then the history says
      | change                      | members |
      | Created by somebody unknown |         |
      | Deleted by somebody unknown |         |
      | Created by somebody unknown |         |

  Scenario: What was deleted twice is there once
    When a colleague deletes "Copper pot"
    And I press "Deleted…"
    And I bring back "Copper pot"
    Then of what was deleted I am told "“Copper pot” has been brought back."
    When I press "Close deleted"
    And a colleague sets the price of "Copper pot" to "45"
    And a colleague deletes "Copper pot"
    And a colleague deletes "Enamel mug"
    And I press "Deleted…"
    Then the first of what was deleted is "Enamel mug, Copper pot"
    And "Copper pot" was deleted once
    When I bring back "Copper pot"
    Then the catalogue has
      | name       | price |
      | Copper pot | 45    |

  Scenario: Somebody else has brought it back
    When a colleague deletes "Copper pot"
    And I press "Deleted…"
    Then the first of what was deleted is "Copper pot"
    When a colleague brings back "Copper pot" with the price "45"
    And I bring back "Copper pot"
    Then of what was deleted I am told "is there already: somebody else has brought it back."
    And "Copper pot" is not listed as deleted
    And everyone can use the page
    And the catalogue has
      | name       | price |
      | Copper pot | 45    |
      | Enamel mug | 8.00  |

  Scenario: Much was deleted
    Given 60 products called "Mug" and a number
    And I have the catalogue open
    When a colleague deletes everything
    And I press "Deleted…"
    Then 50 are listed as deleted
    When I press "Show older deletions"
    Then more than 60 are listed as deleted

  Scenario: Bring back by keyboard alone, on a phone
    Given I use a phone
    When a colleague deletes "Copper pot"
    And I go to "Deleted…" by keyboard and press Enter
    Then the first of what was deleted is "Copper pot"
    And everyone can use the page
    When I go to the bringing back of "Copper pot" by keyboard and press Enter
    Then the catalogue has
      | name       | price |
      | Copper pot | 49.95 |
      | Enamel mug | 8.00  |

  @slow_network
  Scenario: The answer to bringing back is lost
    When a colleague deletes "Copper pot"
    And I press "Deleted…"
    And the answer to the next of the updates is lost
    And I bring back "Copper pot"
    Then of what was deleted I am told "“Copper pot” has been brought back."
    When I press "Close deleted"
    And a colleague deletes "Enamel mug"
    And I press "Deleted…"
    And answers to updates are held back
    And I bring back "Enamel mug"
    Then an answer to updates is on its way
    When I press "Close deleted"
    And the answers arrive
    Then I am told "“Enamel mug” has been brought back."
    When the answer to the next of the deletions is lost
    And I press "Deleted…"
    Then of what was deleted I am told "cannot be reached"
    And everyone can use the page
    When I press "Try the deletions again"
    Then "Copper pot" is not listed as deleted

  @own_service
  Scenario: What was deleted is shown to holders of a token
    Given only holders of a token may write
    And I have the catalogue open
    When I press "Deleted…"
    Then I am asked for a token
    When I press the key Escape
    Then of what was deleted I am told "holders of a token"
    When I press "Try the deletions again"
    And I give the token
    Then "Copper pot" is not listed as deleted
